# agentctl as an image. docs/containers.md says how to build and run it:
#
#   docker build . -t agentctl
#
# BASE is a Debian with apt-get. With a digest (debian:trixie-slim@sha256:...) it is the same one in each build.
# BUILD_BASE may be another one of the same release, such as one that has pip already.
ARG BASE=debian:trixie-slim
ARG BUILD_BASE=${BASE}

FROM ${BUILD_BASE} AS build
ARG PIP_INDEX_URL
# What is installed besides agentctl itself; each extra is loaded only by a run that uses it.
ARG EXTRAS="mcp otel postgres leases"
# Of each file in /opt/agentctl, so that two builds make the same files. BuildKit passes on the variable of this name.
ARG SOURCE_DATE_EPOCH=315532800
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
RUN python3 -m pip --version \
    || { apt-get update && apt-get install -y --no-install-recommends python3 python3-pip; }
WORKDIR /src
# Where the context has a folder wheels/, every package comes from there, and nothing is fetched. Left out: the web pages
# of litellm's proxy, which agentctl never serves, and tests. Compiled is all but that proxy; the compiled files know
# their sources by hash, not by time.
COPY requirements*.lock wheel[s] wheels/
RUN set -eu; \
    python3 -m venv --without-pip /opt/agentctl; \
    set -- -r wheels/requirements.lock; \
    for extra in ${EXTRAS}; do set -- "$@" -r "wheels/requirements-${extra}.lock"; done; \
    if ls wheels/*.whl >/dev/null 2>&1; then set -- --no-index --find-links wheels "$@"; fi; \
    python3 -m pip --python /opt/agentctl/bin/python3 install -q --no-compile --require-hashes --only-binary :all: "$@"; \
    cd /opt/agentctl/lib/python3*/site-packages; \
    rm -rf hf_xet litellm/proxy/_experimental/out litellm/proxy/swagger; \
    find . -type d -name tests -prune -exec rm -rf {} +; \
    python3 -m compileall -q -j 0 --invalidation-mode unchecked-hash -x /litellm/proxy/ .; \
    find /opt/agentctl -exec touch --no-dereference --date "@${SOURCE_DATE_EPOCH}" {} +
COPY LICENSE README.md pyproject.toml ./
COPY docs docs
COPY agentctl agentctl
RUN set -eu; \
    in_venv() { python3 -m pip --python /opt/agentctl/bin/python3 "$@"; }; \
    in_venv install -q --no-compile --no-deps --no-build-isolation --no-index .; \
    in_venv uninstall -q -y hatchling pathspec pluggy trove-classifiers; \
    cd /opt/agentctl/lib/python3*/site-packages; \
    python3 -m compileall -q -j 0 --invalidation-mode unchecked-hash agentctl; \
    find /opt/agentctl -newermt "@${SOURCE_DATE_EPOCH}" \
        -exec touch --no-dereference --date "@${SOURCE_DATE_EPOCH}" {} +

FROM ${BASE}
ARG BASE
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="agentctl" \
    org.opencontainers.image.description="Runs one task with a language model and tools, and cannot spend more than it was given." \
    org.opencontainers.image.licenses="MIT" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.base.name="${BASE}"
# Any user may use the image: each makes a folder of its own in /state, which is not open to others. The mark tells what
# runs here that it is in a container, as some engines do not.
RUN set -eu; \
    apt-get update; \
    apt-get install -y --no-install-recommends bubblewrap ca-certificates $(command -v python3 >/dev/null || echo python3); \
    rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/cache/ldconfig/* /var/log/*; \
    echo "agentctl:x:65532:65532::/home/agentctl:/bin/sh" >>/etc/passwd; \
    echo "agentctl:x:65532:" >>/etc/group; \
    mkdir -p /config /home/agentctl /run/systemd; \
    echo oci >/run/systemd/container; \
    mkdir -m 1777 /state /work; \
    chown 65532:65532 /home/agentctl
COPY --from=build /opt/agentctl /opt/agentctl
ENV PATH=/opt/agentctl/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    HOME=/home/agentctl \
    LANG=C.UTF-8 \
    PYTHONDONTWRITEBYTECODE=1 \
    AGENTCTL_CONFIG_DIR=/config \
    AGENTCTL_STATE_DIR=/state/agentctl \
    AGENTCTL_CACHE_DIR=/state/cache
RUN agentctl --version
USER 65532:65532
WORKDIR /work
VOLUME /state
# No init: as process 1, agentctl reaps orphans and passes signals on.
ENTRYPOINT ["/opt/agentctl/bin/agentctl"]
CMD ["--help"]
