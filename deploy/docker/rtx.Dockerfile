# gasmcast live on RTX and data-center cards (TensorRT), x86-64. Needs the NVIDIA container toolkit
# and a driver for CUDA 13. Context: the root of the repository, after `make dist`.
#   docker build -f deploy/docker/rtx.Dockerfile -t gasmcast:rtx .
# A Debian with TensorRT from its wheels is smaller than NVIDIA's images, which bring compilers.
FROM debian:trixie-slim@sha256:a29215f6a35e51e22adffa17f89e9d2ef06214e64a2bad10d765c46aea49f11f AS build
RUN apt-get update -qq \
 && apt-get install -qq -y --no-install-recommends python3-venv ca-certificates \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY deploy/docker/rtx.lock dist/*.whl ./
RUN python3 -m venv /opt/gasmcast \
 && /opt/gasmcast/bin/pip install --quiet --no-cache-dir --require-hashes -r rtx.lock \
 && /opt/gasmcast/bin/pip install --quiet --no-cache-dir --no-deps ./*.whl \
 && /opt/gasmcast/bin/pip uninstall --quiet --yes pip \
 && /opt/gasmcast/bin/gasmcast --version

FROM debian:trixie-slim@sha256:a29215f6a35e51e22adffa17f89e9d2ef06214e64a2bad10d765c46aea49f11f
RUN apt-get update -qq \
 && apt-get install -qq -y --no-install-recommends python3 ca-certificates \
 && rm -rf /var/lib/apt/lists/* \
 && groupadd --gid 10001 gasmcast \
 && useradd --uid 10001 --gid 10001 --groups video --no-create-home --home-dir /var/lib/gasmcast \
    --shell /usr/sbin/nologin gasmcast \
 && install -d -o gasmcast -g gasmcast /var/lib/gasmcast /var/cache/gasmcast \
 && install -d /etc/gasmcast
COPY --from=build /opt/gasmcast /opt/gasmcast
# The toolkit mounts the driver's compute and video libraries into the container.
ENV PATH=/opt/gasmcast/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/var/lib/gasmcast \
    XDG_CACHE_HOME=/var/cache/gasmcast \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility,video
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
