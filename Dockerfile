# uidtraced in a container, from the same package and the same locked dependencies.
#
#   docker build -t uidtraced .
#   docker run --rm --privileged --pid=host --cgroupns=host \
#       -v /etc/uidtrace:/etc/uidtrace:ro -v /run/uidtraced:/run/uidtraced \
#       -v /etc/passwd:/etc/passwd:ro -v /etc/group:/etc/group:ro uidtraced
#
# --privileged        or, less: --cap-drop ALL --cap-add BPF --cap-add PERFMON
# --pid=host          the pids of events are the machine's, and the journal's process is found
# --cgroupns=host     it is found by its cgroup
# /etc/uidtrace       the directory of uidtrace.yaml, not the file: a mounted file stays the old
#                     one where an editor puts a new one in its place
# /run/uidtraced      the lock of the machine's one instance
# /etc/passwd, group  the names that the policy uses; without them write uids, or mount them again
#                     (restart) after a user was added
#
# Events are JSON lines on stdout. For the machine's journal instead:
#   -v /run/systemd/journal:/run/systemd/journal, and after the image's name
#   run --policy /etc/uidtrace/uidtrace.yaml --output journal

FROM debian:12-slim AS build
WORKDIR /src
COPY . .
RUN VENV=/usr/local/lib/uidtraced script/setup

FROM debian:12-slim
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends \
        libbpf1 libsystemd0 python3 \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /usr/local/lib/uidtraced /usr/local/lib/uidtraced
COPY config/uidtrace.yaml /etc/uidtrace/uidtrace.yaml
RUN ln -s /usr/local/lib/uidtraced/bin/uidtraced /usr/local/bin/uidtraced
ENTRYPOINT ["uidtraced"]
CMD ["run", "--policy", "/etc/uidtrace/uidtrace.yaml"]
