# One image with one binary, in which the pages and scripts are, and what that binary loads: no shell, no package manager.
# tests/image builds and runs it.

ARG RUST=1
FROM docker.io/library/rust:${RUST}-bookworm AS build
WORKDIR /build

# The dependencies alone, on empty sources: this layer is built again only when Cargo.toml or Cargo.lock change. Every
# target that Cargo.toml names has to be there, and so has every package of the workspace, or cargo refuses it.
COPY .cargo .cargo
COPY Cargo.toml Cargo.lock build.rs ./
COPY bench/loadgen/Cargo.toml bench/loadgen/
COPY crates/parked-streams/Cargo.toml crates/parked-streams/
RUN mkdir -p src tests bench/loadgen/src crates/parked-streams/src \
 && echo 'fn main() {}' | tee src/main.rs bench/loadgen/src/main.rs >tests/main.rs \
 && touch src/lib.rs crates/parked-streams/src/lib.rs \
 && cargo build --profile dist --locked \
 && rm -rf src crates

# COPY keeps the times of the files, and cargo goes by them: older than the empty sources, they would count as built.
COPY . .
RUN touch src/main.rs src/lib.rs crates/parked-streams/src/lib.rs \
 && cargo build --profile dist --locked

# The root of the image: the binary, the libraries that it names, the certificate authorities (for rediss:// and https://)
# and, for scanners that look for known faults, which Debian packages these files are of. /keys is there because a new
# volume takes its owner from it.
RUN install -D --strip --target-directory=/image/usr/local/bin target/dist/scangate \
 && ldd target/dist/scangate | grep --only-matching '/[^ ]*' \
    | xargs cp --parents --dereference --target-directory=/image \
 && cp --parents --dereference --target-directory=/image \
    /etc/ssl/certs/ca-certificates.crt /etc/nsswitch.conf /etc/os-release \
 && install -D --mode=0644 --target-directory=/image/usr/share/doc/scangate LICENSE-APACHE LICENSE-MIT \
 && mkdir -p /image/var/lib/dpkg/status.d \
 && for package in libc6 libgcc-s1 ca-certificates; do \
        dpkg-query --status "$package" >"/image/var/lib/dpkg/status.d/$package" || exit 1; \
    done \
 && install -d -m 0700 -o 65532 -g 65532 /image/keys


FROM scratch

# Of the sources this was built from, as `git rev-parse HEAD` says it.
ARG REVISION=unknown
LABEL org.opencontainers.image.title="scangate" \
      org.opencontainers.image.description="A sign-in gateway: scan a QR code with a signed-in phone, and the waiting browser gets a JWT over Server-Sent Events" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="Apache-2.0 OR MIT"

COPY --from=build /image /

# A number, so that Kubernetes can see that it is not root.
USER 65532:65532

# The admin listener (health, metrics) is for the network of the containers: publish 8080 alone.
ENV PATH=/usr/local/bin \
    SCANGATE_LISTEN=0.0.0.0:8080 \
    SCANGATE_ADMIN_LISTEN=0.0.0.0:9090
EXPOSE 8080 9090

# Without --live, `doctor` looks at everything that the gateway depends on: a Redis that is away would have every gateway
# restarted.
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 \
    CMD ["scangate", "doctor", "--live"]

ENTRYPOINT ["scangate"]
CMD ["serve"]
