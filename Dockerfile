ARG BASE_IMAGE=docker.io/airbyte/python-connector-base:4.0.2

FROM ${BASE_IMAGE} AS dependencies
WORKDIR /build
# The dependencies alone, read from pyproject.toml: this layer is made again only when they change.
COPY pyproject.toml ./
RUN python -m venv --without-pip /venv \
    && python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['dependencies'], sep='\n')" > requirements.txt \
    && python -m pip --python /venv/bin/python install --no-cache-dir --disable-pip-version-check -r requirements.txt \
    && find /venv -type d -name tests -path '*/site-packages/*' -prune -exec rm -rf {} +

FROM dependencies AS code
COPY setup.py README.md LICENSE ./
COPY source_listrak ./source_listrak
RUN python -m pip --python /venv/bin/python install --no-cache-dir --disable-pip-version-check --no-deps --prefix /code .

FROM ${BASE_IMAGE}
WORKDIR /airbyte/integration_code
COPY --from=dependencies /venv /venv
COPY --from=code /code /venv
COPY main.py ./
ENV PATH=/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    AIRBYTE_ENTRYPOINT="python /airbyte/integration_code/main.py"
LABEL io.airbyte.name=airbyte/source-listrak \
      io.airbyte.version=0.1.0
USER airbyte
ENTRYPOINT ["python", "/airbyte/integration_code/main.py"]
