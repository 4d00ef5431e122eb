"""OpenAI's dialect: its image and model routes, over every engine, for the official SDK."""
