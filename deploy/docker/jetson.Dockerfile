# gasmcast live on a Jetson (TensorRT), arm64. Context: the root of the repository, after
# `make dist`; build it on the Jetson, or elsewhere with `--platform linux/arm64`.
#   JetPack 6.2 (Python 3.10, TensorRT 10.3, CUDA 12.6):
#     docker build -f deploy/docker/jetson.Dockerfile -t gasmcast:jetpack6 .
#   JetPack 7 (Python 3.12, CUDA 13):
#     docker build -f deploy/docker/jetson.Dockerfile -t gasmcast:jetpack7 \
#       --build-arg BASE=nvcr.io/nvidia/tensorrt:25.10-py3 --build-arg LOCK=jetpack7.lock .
# These images are pinned by tag, not by digest: see deploy/README.md.
ARG BASE=nvcr.io/nvidia/l4t-tensorrt:r10.3.0-runtime

# hadolint ignore=DL3006
FROM ${BASE} AS build
ARG LOCK=jetpack6.lock
RUN apt-get update -qq \
 && apt-get install -qq -y --no-install-recommends python3-venv ca-certificates \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY deploy/docker/*.lock dist/*.whl ./
# TensorRT belongs to the system packages of the base image, so the environment must see them.
RUN python3 -m venv --system-site-packages /opt/gasmcast \
 && /opt/gasmcast/bin/pip install --quiet --no-cache-dir --require-hashes -r "$LOCK" \
 && /opt/gasmcast/bin/pip install --quiet --no-cache-dir --no-deps ./*.whl \
 && /opt/gasmcast/bin/python -c "import tensorrt; print(tensorrt.__version__)" \
 && /opt/gasmcast/bin/gasmcast --version

# hadolint ignore=DL3006
FROM ${BASE}
RUN apt-get update -qq \
 && apt-get install -qq -y --no-install-recommends python3 ca-certificates \
 && rm -rf /var/lib/apt/lists/* \
 && groupadd --gid 10001 gasmcast \
 && useradd --uid 10001 --gid 10001 --groups video --no-create-home --home-dir /var/lib/gasmcast \
    --shell /usr/sbin/nologin gasmcast \
 && install -d -o gasmcast -g gasmcast /var/lib/gasmcast /var/cache/gasmcast \
 && install -d /etc/gasmcast
COPY --from=build /opt/gasmcast /opt/gasmcast
ENV PATH=/opt/gasmcast/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/var/lib/gasmcast \
    XDG_CACHE_HOME=/var/cache/gasmcast
VOLUME ["/var/lib/gasmcast", "/var/cache/gasmcast"]
WORKDIR /var/lib/gasmcast
USER 10001:10001
EXPOSE 9464
STOPSIGNAL SIGTERM
# The first start builds engines, minutes each; later ones find them in the cache volume.
HEALTHCHECK --interval=15s --timeout=5s --start-period=1800s --retries=3 \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:9464/health', timeout=4)"]
ENTRYPOINT ["gasmcast"]
CMD ["live", "@/etc/gasmcast/cameras.yaml", "--bundle", "/etc/gasmcast/model.gasm", "--config", "/etc/gasmcast/live.yaml", "--metrics", "0.0.0.0:9464", "--engine", "tensorrt"]
