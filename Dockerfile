# Runs as a plain user and on a read-only root file system: /tmp is all it writes to.

# The tag says which release the digest, of the image for all platforms, is; Renovate moves both.
ARG PYTHON_IMAGE=python:3.12.14-slim-trixie@sha256:78387bc3881b8273120a12ebe6c1ab22b018ccc2c9adf565ae1ac9b536e184ea

FROM ${PYTHON_IMAGE} AS packages
WORKDIR /opt
COPY requirements.lock .
# The base's pip installs, so that none is left beside the packages.
RUN python -m venv --without-pip venv \
    && python -m pip --python venv/bin/python install --no-cache-dir --no-compile \
        --only-binary :all: --no-deps --require-hashes --requirement requirements.lock
# What nothing here uses: tests, sources and headers in C, Arrow's RPC, translations of country names,
# the pages of a Prefect server, and the AWS services that neither buckets, secrets nor the ECS worker
# ask; 100 MB. Then bytecode, as a read-only file system takes none later: a start takes half the time.
# It holds whatever the files' times are, which registries and caches may change.
RUN find venv -type d -name tests -prune -exec rm -r {} + \
    && rm -r venv/lib/*/site-packages/pyarrow/include venv/lib/*/site-packages/pycountry/locales \
        venv/lib/*/site-packages/prefect/server/ui venv/lib/*/site-packages/prefect/server/ui-v2 \
    && find venv -path '*/pyarrow/*flight*' -delete \
    && find venv -type f -regextype posix-extended -regex '.*\.(c|cc|cpp|h|hpp|pxd|pxi|pyx)' -delete \
    && find venv/lib/*/site-packages/botocore/data -mindepth 1 -maxdepth 1 -type d -regextype posix-extended \
        ! -regex '.*/(ec2|ecs|logs|s3|secretsmanager|signin|sqs|sso|sso-oidc|sts)' -exec rm -r {} + \
    && python -m compileall -q -j 0 --invalidation-mode unchecked-hash venv/lib

FROM ${PYTHON_IMAGE}
# The base's pip would only be something to keep up to date.
RUN python -m pip uninstall --yes --quiet --root-user-action=ignore pip \
    && rm -rf /usr/local/lib/python3.*/ensurepip \
    && useradd --uid 10001 --user-group --no-create-home --home-dir /tmp --shell /usr/sbin/nologin totesys
COPY --from=packages /opt/venv /opt/venv
WORKDIR /app
COPY pipeline pipeline
COPY transforms transforms
COPY tasks tasks
COPY flows flows
# A run that is stopped, as on Spot, is put back in the queue: it leaves nothing half done.
ENV PREFECT_FLOW_RUN_EXECUTE_SIGTERM_BEHAVIOR=reschedule \
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY=30 \
    PATH=/opt/venv/bin:$PATH \
    HOME=/tmp \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PREFECT_SERVER_ANALYTICS_ENABLED=false \
    DO_NOT_TRACK=1
USER 10001:10001
# Mounted with its owner and mode also where the platform gives empty volumes to root (Fargate).
VOLUME ["/tmp"]
# No ENTRYPOINT: Prefect's workers give the whole command, `prefect flow-run execute`.
CMD ["python", "-m", "flows"]
