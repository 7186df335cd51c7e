# An image of one binary, which contains the pages and scripts, and the libraries that it loads: no shell, no package manager.
# tests/image builds and runs it.

ARG RUST=1
FROM docker.io/library/rust:${RUST}-bookworm AS build
WORKDIR /build

# Compiles the dependencies and the crates of the workspace with empty sources of the gateway. This layer is rebuilt only when
# they change. Cargo refuses a workspace if the manifest of a member, or a target that a manifest names, is missing.
COPY .cargo .cargo
COPY Cargo.toml Cargo.lock build.rs ./
COPY crates crates
COPY bench/loadgen/Cargo.toml bench/loadgen/
RUN mkdir -p src tests bench/loadgen/src \
 && echo 'fn main() {}' | tee src/main.rs bench/loadgen/src/main.rs >tests/main.rs \
 && touch src/lib.rs \
 && cargo build --profile dist --features jemalloc --locked \
 && rm -rf src

# COPY keeps the modification times of the files. Cargo compares them: files older than the empty sources count as unchanged.
COPY . .
RUN touch src/main.rs src/lib.rs \
 && cargo build --profile dist --features jemalloc --locked

# The root of the image: the binary, its shared libraries, and the certificate authorities (for rediss:// and https://).
# Vulnerability scanners read from /var/lib/dpkg/status.d which Debian packages these files belong to. A new volume takes its
# owner from /keys.
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

# The revision of the sources, as `git rev-parse HEAD` prints it.
ARG REVISION=unknown
LABEL org.opencontainers.image.title="scangate" \
      org.opencontainers.image.description="A sign-in gateway: scan a QR code with a signed-in phone, and the waiting browser gets a JWT over Server-Sent Events" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="Apache-2.0 OR MIT"

COPY --from=build /image /

# A number: Kubernetes checks from it that the user is not root.
USER 65532:65532

# Publish only 8080. The admin listener (health, metrics) is for the network of the containers.
ENV PATH=/usr/local/bin \
    SCANGATE_LISTEN=0.0.0.0:8080 \
    SCANGATE_ADMIN_LISTEN=0.0.0.0:9090
EXPOSE 8080 9090

# With --live, `doctor` checks the process alone. Otherwise it checks everything that the gateway depends on, and an
# unreachable Redis would restart every gateway.
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 \
    CMD ["scangate", "doctor", "--live"]

ENTRYPOINT ["scangate"]
CMD ["serve"]
