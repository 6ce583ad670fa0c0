# gasmcast live on CPUs, x86-64 and arm64 (OpenVINO). Context: the root of the repository, after
# `make dist`.
#   docker build -f deploy/docker/cpu.Dockerfile -t gasmcast:cpu .
# The digest is that of the multi-architecture index; deploy/README.md says how to renew it.
FROM debian:trixie-slim@sha256:a29215f6a35e51e22adffa17f89e9d2ef06214e64a2bad10d765c46aea49f11f AS build
RUN apt-get update -qq \
 && apt-get install -qq -y --no-install-recommends python3-venv ca-certificates \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY deploy/docker/cpu.lock dist/*.whl ./
# Dependencies by hash; OpenCV without windows, because a container has no screen.
RUN python3 -m venv /opt/gasmcast \
 && /opt/gasmcast/bin/pip install --quiet --no-cache-dir --require-hashes -r cpu.lock \
 && /opt/gasmcast/bin/pip install --quiet --no-cache-dir --no-deps ./*.whl \
 && /opt/gasmcast/bin/pip uninstall --quiet --yes pip \
 && /opt/gasmcast/bin/gasmcast --version

FROM debian:trixie-slim@sha256:a29215f6a35e51e22adffa17f89e9d2ef06214e64a2bad10d765c46aea49f11f
# video: webcams; render: Intel GPUs. The numbers are what Kubernetes and read-only volumes go by.
RUN apt-get update -qq \
 && apt-get install -qq -y --no-install-recommends python3 ca-certificates \
 && rm -rf /var/lib/apt/lists/* \
 && groupadd --gid 10001 gasmcast \
 && useradd --uid 10001 --gid 10001 --groups video --no-create-home --home-dir /var/lib/gasmcast \
    --shell /usr/sbin/nologin gasmcast \
 && install -d -o gasmcast -g gasmcast /var/lib/gasmcast /var/cache/gasmcast \
 && install -d /etc/gasmcast
COPY --from=build /opt/gasmcast /opt/gasmcast
# The root file system can be read-only: state and caches are volumes, and /tmp a tmpfs.
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
# 200 while every stage makes progress; 503 while models are compiled at the start.
HEALTHCHECK --interval=15s --timeout=5s --start-period=120s --retries=3 \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:9464/health', timeout=4)"]
ENTRYPOINT ["gasmcast"]
CMD ["live", "@/etc/gasmcast/cameras.yaml", "--bundle", "/etc/gasmcast/model.gasm", "--config", "/etc/gasmcast/live.yaml", "--metrics", "0.0.0.0:9464"]
