# gasmcast train, evaluate and export (torch with CUDA), x86-64. Context: the root of the
# repository, after `make dist`.
#   docker build -f deploy/docker/train.Dockerfile -t gasmcast:train .
FROM debian:trixie-slim@sha256:a29215f6a35e51e22adffa17f89e9d2ef06214e64a2bad10d765c46aea49f11f
# torch compiles kernels at run time, which needs a C compiler and Python's headers.
RUN apt-get update -qq \
 && apt-get install -qq -y --no-install-recommends \
    python3-venv python3-dev gcc libc6-dev libgl1 libglib2.0-0t64 ca-certificates \
 && rm -rf /var/lib/apt/lists/* \
 && groupadd --gid 10001 gasmcast \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /work \
    --shell /usr/sbin/nologin gasmcast \
 && install -d -o gasmcast -g gasmcast /work
WORKDIR /build
COPY dist/*.whl ./
RUN python3 -m venv /opt/gasmcast \
 && for wheel in ./*.whl; do \
      /opt/gasmcast/bin/pip install --quiet --no-cache-dir "${wheel}[export]" || exit 1; \
    done \
 && /opt/gasmcast/bin/gasmcast --version
ENV PATH=/opt/gasmcast/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/work \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
# Data, runs and caches are mounted below /work; the root file system can be read-only.
VOLUME ["/work"]
WORKDIR /work
USER 10001:10001
# A job that ends: its exit status is its health.
HEALTHCHECK NONE
ENTRYPOINT ["gasmcast"]
CMD ["--help"]
