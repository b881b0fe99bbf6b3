# One image for every process; docker-compose.yml names the command of each.
FROM python:3.11.17-slim AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /build
COPY constraints-server.txt ./
RUN python -m venv /venv && /venv/bin/pip install --require-hashes -r constraints-server.txt
# Copy our packages last, so that most builds reuse the layers above.
COPY pyproject.toml README.md LICENSE nats.conf ./
COPY packaging ./packaging
COPY deploy/s3 ./deploy/s3
COPY sample_data ./sample_data
COPY migrations ./migrations
COPY zipcast ./zipcast
COPY storage ./storage
COPY access ./access
COPY service ./service
COPY schedulers ./schedulers
COPY broker_service ./broker_service
COPY http_bridge ./http_bridge
COPY devstack ./devstack
COPY operator_cli ./operator_cli
RUN /venv/bin/pip install --no-deps . ./packaging/server && /venv/bin/pip uninstall --yes pip

FROM python:3.11.17-slim
RUN groupadd --system --gid 10001 zipcast \
    && useradd --system --uid 10001 --gid zipcast --no-create-home --shell /usr/sbin/nologin zipcast
COPY --from=build /venv /venv
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 READY_FILE=/tmp/ready
USER 10001:10001
# The bridge's public port; the internal listeners of scheduler, responder, callout and bridge.
EXPOSE 8000 9101 9102 9103 9104
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s CMD ["test", "-f", "/tmp/ready"]
CMD ["zipcast", "--help"]
