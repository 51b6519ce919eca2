# Both services: `docker build --target micro-1 .` and `docker build --target micro-2 .`; docker-compose.yml builds both.

# The version is that of rust-toolchain.toml; a test compares the two.
FROM rust:1.95.0-slim-bookworm AS builder
# librdkafka is built from source with C and C++; its TLS and SASL want OpenSSL.
RUN apt-get update \
    && apt-get install -y --no-install-recommends g++ libssl-dev make pkg-config \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
# Backtraces need the names of functions and not their line tables, which are most of the binary.
ENV CARGO_PROFILE_RELEASE_STRIP=debuginfo
# The caches outlive the layer: after a change only the crates of this workspace are built again. All of those, always:
# COPY keeps the times of the files, and cargo takes a crate for fresh whose files are older than what it built last. In a
# cache that another checkout has filled, that is the other one's program. Builds at the same time take turns, or one would
# pack what the other has just built.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target,sharing=locked \
    find . -path ./target -prune -o -type f -exec touch {} + \
    && cargo build --release --locked -p micro-1 -p micro-2 --features micro-1/tls,micro-2/tls \
    && install -D -t /out target/release/micro-1 target/release/micro-2

FROM debian:bookworm-slim AS runtime
# OpenSSL, and the certificates of the authorities that a broker's certificate may come from.
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates libssl3 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --user-group --uid 10001 --home-dir /data --no-create-home --shell /usr/sbin/nologin service \
    && install -d -o service -g service /data
USER 10001:10001
# A volume that is mounted here for the first time gets the folder's owner.
WORKDIR /data
# Inside a container the loopback address would be reached by no one else.
ENV HOST=0.0.0.0 LOG_FORMAT=json

FROM runtime AS micro-1
COPY --from=builder /out/micro-1 /usr/local/bin/micro-1
ENV DATA_DIR=/data
EXPOSE 3333 4333
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["micro-1", "healthcheck"]
ENTRYPOINT ["micro-1"]

FROM runtime AS micro-2
COPY --from=builder /out/micro-2 /usr/local/bin/micro-2
EXPOSE 3334 4334
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["micro-2", "healthcheck"]
ENTRYPOINT ["micro-2"]
