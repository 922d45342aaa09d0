# Runs as a plain user on a read-only root file system. It only writes to /tmp.

# The tag is the release of the digest, which covers all platforms. Renovate updates both.
ARG PYTHON_IMAGE=python:3.12.14-slim-trixie@sha256:78387bc3881b8273120a12ebe6c1ab22b018ccc2c9adf565ae1ac9b536e184ea

FROM ${PYTHON_IMAGE} AS packages
WORKDIR /opt
COPY requirements.lock .
# The base image's pip installs the packages, so that the environment contains no pip.
RUN python -m venv --without-pip venv \
    && python -m pip --python venv/bin/python install --no-cache-dir --no-compile \
        --only-binary :all: --no-deps --require-hashes --requirement requirements.lock
# Removes 100 MB that are not used: tests, C sources and headers, Arrow's RPC, translations of country names,
# the pages of a Prefect server, and AWS services other than those of buckets, secrets and the ECS worker.
# Then compiles all modules, which halves the start-up time; later the file system is read-only. Unchecked
# hashes make the bytecode valid whatever the files' times are, which registries and caches may change.
RUN find venv -type d -name tests -prune -exec rm -r {} + \
    && rm -r venv/lib/*/site-packages/pyarrow/include venv/lib/*/site-packages/pycountry/locales \
        venv/lib/*/site-packages/prefect/server/ui venv/lib/*/site-packages/prefect/server/ui-v2 \
    && find venv -path '*/pyarrow/*flight*' -delete \
    && find venv -type f -regextype posix-extended -regex '.*\.(c|cc|cpp|h|hpp|pxd|pxi|pyx)' -delete \
    && find venv/lib/*/site-packages/botocore/data -mindepth 1 -maxdepth 1 -type d -regextype posix-extended \
        ! -regex '.*/(ec2|ecs|logs|s3|secretsmanager|signin|sqs|sso|sso-oidc|sts)' -exec rm -r {} + \
    && python -m compileall -q -j 0 --invalidation-mode unchecked-hash venv/lib

FROM ${PYTHON_IMAGE}
# Without pip there is one package less to keep up to date.
RUN python -m pip uninstall --yes --quiet --root-user-action=ignore pip \
    && rm -rf /usr/local/lib/python3.*/ensurepip \
    && useradd --uid 10001 --user-group --no-create-home --home-dir /tmp --shell /usr/sbin/nologin totesys
COPY --from=packages /opt/venv /opt/venv
WORKDIR /app
COPY pipeline pipeline
COPY transforms transforms
COPY tasks tasks
COPY flows flows
RUN python -m compileall -q -j 0 --invalidation-mode unchecked-hash pipeline tasks flows
# A run that is stopped, for example on Spot capacity, returns to the queue.
ENV PREFECT_FLOW_RUN_EXECUTE_SIGTERM_BEHAVIOR=reschedule \
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY=30 \
    PATH=/opt/venv/bin:$PATH \
    HOME=/tmp \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PREFECT_SERVER_ANALYTICS_ENABLED=false \
    DO_NOT_TRACK=1
USER 10001:10001
# A volume gets the owner and mode of this folder, also if the platform gives empty volumes to root (Fargate).
VOLUME ["/tmp"]
# There is no ENTRYPOINT, because Prefect's workers pass the whole command, `prefect flow-run execute`.
CMD ["python", "-m", "flows"]
