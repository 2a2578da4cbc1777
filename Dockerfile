# uidtraced in a container. It traces the machine's kernel, so it needs its BPF and its pids:
#
#   docker build -t uidtraced .
#   docker run --privileged --pid=host -v /etc/uidtraced:/etc/uidtraced:ro uidtraced
#
# The policy is /etc/uidtraced/uidtrace.yaml. Mount its directory, not the file: an editor
# replaces the file, and a mount would hold on to the old one. Name users by uid, or mount
# /etc/passwd too. --cap-add BPF --cap-add PERFMON instead of --privileged will do where the
# engine's seccomp profile lets bpf() pass.

FROM debian:12-slim AS build
COPY . /src
RUN VENV=/usr/local/lib/uidtraced /src/script/setup

FROM debian:12-slim
RUN apt-get update \
 && apt-get install -y --no-install-recommends libbpf1 libsystemd0 python3 \
 && rm -rf /var/lib/apt/lists/*
COPY --from=build /usr/local/lib/uidtraced /usr/local/lib/uidtraced
COPY config/uidtrace.yaml /etc/uidtraced/uidtrace.yaml
ENTRYPOINT ["/usr/local/lib/uidtraced/bin/uidtraced"]
CMD ["run", "--policy", "/etc/uidtraced/uidtrace.yaml", "--output", "json"]
