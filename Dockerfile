# Two images: `docker build --target server .` and `docker build --target worker .`
# The lock, used as constraints, decides every version (hatchling's too) and checks its hash.

FROM python:3.11-slim AS build
WORKDIR /build
COPY requirements.lock ./
RUN python -m venv /app \
    && pip install --no-cache-dir "$(sed -nE 's/^(uv==[^ ]+).*/\1/p' requirements.lock)"
ENV UV_CONSTRAINT=requirements.lock UV_BUILD_CONSTRAINT=requirements.lock UV_NO_CACHE=1
COPY clients/python clients/python

FROM build AS build-server
COPY server server
RUN uv pip install --python /app/bin/python ./clients/python ./server

FROM build AS build-worker
COPY worker worker
RUN uv pip install --python /app/bin/python ./clients/python "./worker[webhooks]"

FROM python:3.11-slim AS base
RUN useradd --system --no-create-home --shell /usr/sbin/nologin layeron-job
COPY LICENSE /licenses/LICENSE
ENV PATH=/app/bin:$PATH PYTHONUNBUFFERED=1
USER layeron-job

# The start of an image of yours: FROM it, COPY your handlers, CMD ["your_worker.py"].
FROM base AS worker
COPY --from=build-worker /app /app
ENTRYPOINT ["python"]

FROM base AS server
COPY --from=build-server /app /app
ENV LAYERON_JOB_GRPC_ADDRESS=0.0.0.0:7233 LAYERON_JOB_HTTP_ADDRESS=0.0.0.0:7234
EXPOSE 7233 7234
ENTRYPOINT ["layeron-job"]
CMD ["serve"]
