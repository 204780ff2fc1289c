# The base image is the one that metadata.yaml names; unit_tests/test_project.py compares them.
ARG BASE_IMAGE=docker.io/airbyte/python-connector-base:4.1.0@sha256:1d1aa21d34e851df4e8a87b391c27724c06e2597608e7161f4d167be853bd7b6

FROM ${BASE_IMAGE} AS dependencies
WORKDIR /build
# The lock alone: this layer is rebuilt only when a dependency changes. It is complete (--no-deps),
# and every file must have a hash in it (--require-hashes).
COPY requirements.txt ./
RUN python -m venv --without-pip /venv \
    && python -m pip --python /venv/bin/python install --no-cache-dir --disable-pip-version-check \
       --require-hashes --only-binary :all: --no-deps -r requirements.txt

FROM dependencies AS code
COPY pyproject.toml setup.py LICENSE ./
COPY docs/listrak.md ./docs/
COPY source_listrak ./source_listrak
# The build backend, setuptools, is in the lock too, so nothing is downloaded here.
RUN python -m pip --python /venv/bin/python install --no-cache-dir --disable-pip-version-check \
    --no-deps --no-build-isolation --prefix /code .

FROM ${BASE_IMAGE}
WORKDIR /airbyte/integration_code
COPY --from=dependencies /venv /venv
COPY --from=code /code /venv
COPY main.py ./
# glibc otherwise keeps an arena per thread, about 50 MB with 20 workers, and the memory of freed
# responses, about 30 MB.
ENV PATH=/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    MALLOC_ARENA_MAX=2 \
    MALLOC_MMAP_THRESHOLD_=524288 \
    MALLOC_TRIM_THRESHOLD_=16777216 \
    AIRBYTE_ENTRYPOINT="python /airbyte/integration_code/main.py"
USER airbyte
ENTRYPOINT ["python", "/airbyte/integration_code/main.py"]
