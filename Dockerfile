# One image, one binary: the pages and scripts are inside it.

FROM rust:1-bookworm AS build
WORKDIR /build

# The dependencies alone, on empty sources: this layer is built again only when Cargo.toml or Cargo.lock change. Every
# target that Cargo.toml names has to be there, or it is refused.
COPY .cargo .cargo
COPY Cargo.toml Cargo.lock build.rs ./
RUN mkdir -p src/bin tests \
 && echo 'fn main() {}' | tee src/main.rs src/bin/loadgen.rs >tests/main.rs \
 && touch src/lib.rs \
 && cargo build --release --locked --bin scangate \
 && rm -rf src

# COPY keeps the times of the files, and cargo goes by them: older than the empty sources, they would count as built.
COPY src src
COPY static static
RUN touch src/main.rs src/lib.rs \
 && cargo build --release --locked --bin scangate


FROM debian:bookworm-slim
LABEL org.opencontainers.image.title="scangate" \
      org.opencontainers.image.description="A sign-in gateway: scan a QR code with a signed-in phone, and the waiting browser gets a JWT over Server-Sent Events" \
      org.opencontainers.image.licenses="Apache-2.0 OR MIT"

# The roots for rediss:// and for the identity provider's keys. A new volume on /keys takes its owner from here.
RUN apt-get update \
 && apt-get install --yes --no-install-recommends ca-certificates \
 && rm -rf /var/lib/apt/lists/* \
 && install -d -m 0700 -o 65532 -g 65532 /keys

COPY --from=build /build/target/release/scangate /usr/local/bin/scangate

# A number, so that Kubernetes can see that it is not root.
USER 65532:65532

# The admin listener (health, metrics) is for the network of the containers: publish 8080 alone.
ENV SCANGATE_LISTEN=0.0.0.0:8080 \
    SCANGATE_ADMIN_LISTEN=0.0.0.0:9090
EXPOSE 8080 9090

HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 \
    CMD ["scangate", "doctor", "--live"]

ENTRYPOINT ["scangate"]
CMD ["serve"]
