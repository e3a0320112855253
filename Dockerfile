# syntax=docker/dockerfile:1
#   docker build --tag registry.example.com/seatrial:0.1.0 .
# Only the binary reaches the image: no shell, no package manager, no root.

FROM rust:1.95-bookworm AS build
WORKDIR /build
COPY . .
# The registry and the target directory stay in the builder's cache: a change in src/ compiles one crate.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target,sharing=locked \
    cargo build --release --locked --bin seatrial \
    && cp target/release/seatrial /seatrial

# Same Debian as the builder, so that the binary finds the C library that it was linked with.
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /seatrial /seatrial
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/seatrial"]
