"""Workers: they take jobs from the queue, have an engine draw them and keep the pictures.

`darkroom worker` runs one; so does Celery's own `celery -A worker worker -P threads`.
"""
