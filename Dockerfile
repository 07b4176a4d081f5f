# The program, built by cargo and a C compiler alone.
FROM rust:1-bookworm AS build
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY .cargo .cargo
COPY src src
# Not compiled, but cargo reads the manifest of each crate of the workspace.
COPY tests/support tests/support
COPY migrations migrations
COPY openapi openapi
RUN cargo build --release --locked --bin agentidp

# What runs it: no shell is needed, but curl is, for the health check.
FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates curl \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --no-create-home agentidp
COPY --from=build /src/target/release/agentidp /usr/local/bin/agentidp
USER agentidp
ENV HOST=0.0.0.0 PORT=3000 METRICS_ADDR=0.0.0.0:9464 LOG_FORMAT=json
EXPOSE 3000 9464
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 \
    CMD curl --fail --silent --show-error --max-time 2 "http://127.0.0.1:${PORT:-3000}/health/ready"
ENTRYPOINT ["agentidp"]
CMD ["serve"]
