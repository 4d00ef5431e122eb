# One image for every part: `serve`, `worker`, `migrate`, or `up` for all of it in one container.

FROM python:3.13-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/darkroom
ENV PATH=/opt/darkroom/bin:$PATH
WORKDIR /source
# Dependencies first: they change seldom, and their layer is then taken from the cache.
COPY requirements/base.txt requirements/
RUN pip install --require-hashes --requirement requirements/base.txt
COPY pyproject.toml README.md LICENSE ./
COPY darkroom darkroom
COPY api api
COPY worker worker
COPY engines engines
COPY storage storage
RUN pip install --no-deps --no-build-isolation .
# Optional parts, such as `otel,sentry`; what they need besides is not locked.
ARG EXTRAS=
RUN if [ -n "$EXTRAS" ]; then pip install --no-build-isolation --constraint requirements/base.txt ".[$EXTRAS]"; fi

FROM python:3.13-slim
# /srv/darkroom is where a volume for files that several containers share takes its owner from.
RUN useradd --uid 10001 --home-dir /data --create-home darkroom \
    && install --directory --owner=darkroom --group=darkroom /srv/darkroom
COPY --from=build /opt/darkroom /opt/darkroom
ENV PATH=/opt/darkroom/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    DARKROOM_HOST=0.0.0.0 \
    DARKROOM_PORT=8787 \
    DARKROOM_DATA_DIR=/data
USER darkroom
WORKDIR /data
VOLUME /data
EXPOSE 8787
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen(f\"http://127.0.0.1:{os.environ['DARKROOM_PORT']}/ready\", timeout=4)"]
ENTRYPOINT ["darkroom"]
CMD ["up"]
