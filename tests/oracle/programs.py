"""Ordinary programs: shell scripts that run in an empty directory of their own, and C sources."""

from __future__ import annotations

from typing import Final

SOURCES: Final[dict[str, tuple[str, ...]]] = {
    "hello32": ("-m32",),
    "int80": (),
    "crash": (),
    "thread_exec": ("-pthread",),
    "killed": ("-pthread",),
    "restarts": (),
    "literals": (),
    "long_names": (),
    "net32": ("-m32",),
    "ipc32": ("-m32",),
    "bad_pointers": (),
    "sockets": (),
    "signals": (),
}
"""The C programs in sources/, and how each is compiled; a script runs them as `$BIN/NAME`."""

PROGRAMS: Final[dict[str, str]] = {
    # the shell and the core utilities
    "ls": "ls -la / /nowhere",
    "pipeline": "ls /usr/bin | grep z | sort -r | head -5 | wc -l",
    "loop": 'for i in 1 2 3 4 5; do echo "$i" >>out; done; while read -r x; do :; done <out',
    "here_document": "cat <<EOF >a\nline $(echo one)\nEOF\nwc a; rm a",
    "bash": 'bash -c \'a=(1 2 3); for x in "${a[@]}"; do printf "%s\\n" "$x"; done; type ls\'',
    "job_control": "sleep 0.05 & sleep 0.02 & wait; trap 'echo done' EXIT",
    "copy": "mkdir -p a/b; echo x >a/b/c; cp -a a d; mv d e; rm -r a e",
    "links": "echo x >f; ln f g; ln -s f h; readlink h; stat f g h; rm f g h",
    "modes": "touch f; chmod 640 f; chmod u+s f; umask 077; mkdir -m 700 d; install -m 755 f d/g",
    "odd_names": r"""printf 'x' >"a b\"c\\d"; printf x >"$(printf 'n\nl')"
        printf x >"$(printf '\303\251\377\001')"; printf x >'\x41'; printf x >'@at'; ls; rm -- *""",
    "dd": "dd if=/dev/zero of=f bs=4096 count=16; truncate -s 100 f; dd if=f of=g; cmp f g",
    "text_tools": "seq 1 1000 >n; sed -n 5,10p n; awk '{s+=$1} END {print s}' n; cut -c1 n | uniq -c; "
    "tr 0-9 a-j <n | tail -3; comm n n | head -1; paste n n | head -1; split -n 4 n; sort -n n | md5sum",
    "date_and_id": "date; id; uname -a; whoami; groups; hostname; tty; nproc; df /; uptime",
    "find": "mkdir -p a/b/c; touch a/1 a/b/2; find . -type f -exec cat {} +; find / -maxdepth 2 -name 'p*'",
    "xargs": "seq 20 | xargs -n 3 echo; seq 8 | xargs -P 4 -n 1 echo",
    "du": "du -s /etc; ls -R /etc/apt",
    "env": "env -i A=1 sh -c 'echo $A'; printenv PATH; nice -n 5 true; timeout 1 true; nohup true",
    "timeout": "timeout 0.1 sleep 5; timeout -s KILL 0.1 sleep 5; echo $?",
    "not_found": "nowhere; /nowhere; ./; cat /nowhere; cd /nowhere; echo >/nowhere/x",
    "script_files": "printf '#!/bin/sh -e\\necho $0 $1\\n' >s; chmod +x s; ./s 1; echo 'echo no magic' >t;"
    "chmod +x t; ./t 2",
    "sync": "echo x >f; sync f; flock f true; mkfifo p; cat p & echo x >p; wait",
    # archives and compression
    "tar": "mkdir a; seq 100 >a/f; ln -s f a/g; tar czf a.tgz a; tar tzf a.tgz; rm -r a; tar xzf a.tgz",
    "gzip": "seq 10000 >f; gzip -k f; zcat f.gz | cmp - f; xz -k f; xz -dc f.xz | cmp - f; bzip2 f",
    # version control, databases, compilers
    "git": "export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b;"
    "git init -q; echo x >f; git add f; git commit -qm one; echo y >>f; git diff | cat; git log --stat",
    "sqlite": "sqlite3 d 'create table t(a); insert into t values(1),(2); select sum(a) from t; "
    "pragma journal_mode=wal; insert into t values(3); vacuum; select * from t;'",
    "gcc": "echo 'int main(void) { return 0; }' >a.c; gcc -O1 -o a a.c; ./a; gcc -c b.c; nm a | head -2; ldd a",
    "make": "printf 'all: a b\\na b:\\n\\techo $@ >$@\\n' >Makefile; make -j2; make clean",
    "perl": 'perl -e \'open F, "<", "/etc/passwd"; print scalar(<F>); fork; print `echo x`; exit 3\'',
    "openssl": "openssl rand -hex 4; echo x | openssl sha256",
    # Python
    "python": "python3 -c 'import os, sys, json; print(json.dumps(os.uname()))'",
    "python_threads": """python3 -c '
import threading, subprocess
for _ in range(5): threading.Thread(target=lambda: subprocess.run(["true"])).start()'""",
    "python_processes": """python3 -c '
import multiprocessing as m
if __name__ == "__main__":
    with m.get_context("fork").Pool(3) as p: print(p.map(abs, range(20)))'""",
    "python_asyncio": """python3 -c '
import asyncio
async def main():
    async def serve(r, w):
        w.write(await r.readline()); w.close()
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    r, w = await asyncio.open_connection(*server.sockets[0].getsockname()[:2])
    w.write(b"x\\n"); print(await r.readline())
    p = await asyncio.create_subprocess_exec("echo", "x"); await p.wait()
    await asyncio.sleep(0.01)
asyncio.run(main())'""",
    "python_files": """python3 -c '
import os, tempfile, shutil, mmap, pathlib
with tempfile.TemporaryDirectory(dir=".") as d:
    p = pathlib.Path(d, "x"); p.write_text("y" * 9999); p.rename(p.with_suffix(".z"))
    with p.with_suffix(".z").open("r+b") as f:
        mmap.mmap(f.fileno(), 0)[0] = 65; os.posix_fallocate(f.fileno(), 0, 99999); os.fsync(f)
    os.listxattr(d); os.utime(d); os.statvfs(d); os.sendfile(1, os.open("/etc/passwd", 0), 0, 10)
    shutil.copytree(d, d + "2"); shutil.rmtree(d + "2"); os.chown(d, -1, -1)'""",
    "python_signals": """python3 -c '
import signal, time, os
signal.signal(signal.SIGALRM, lambda *_: None); signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
for _ in range(5): time.sleep(0.015)
signal.setitimer(signal.ITIMER_REAL, 0); os.kill(os.getpid(), signal.SIGUSR1)'""",
    "http": """python3 -c '
import http.server, socket, threading, urllib.request
class Server(http.server.HTTPServer): address_family = socket.AF_INET6
server = Server(("::1", 0), http.server.SimpleHTTPRequestHandler)
threading.Thread(target=server.serve_forever, daemon=True).start()
print(len(urllib.request.urlopen("http://[::1]:%d/" % server.server_port).read()))'""",
    "python_fds": """python3 -c '
import multiprocessing.shared_memory, os, select, signal, socket
a, b = socket.socketpair()
socket.send_fds(a, [b"x"], [1]); socket.recv_fds(b, 9, 2)
signal.pidfd_send_signal(os.pidfd_open(os.getpid()), 0)
shared = multiprocessing.shared_memory.SharedMemory(create=True, size=99)
shared.close(); shared.unlink()
poll = select.epoll(); poll.register(a, 1); poll.poll(0.01)
os.posix_spawn("/bin/true", ["t"], {}); os.wait(); os.memfd_create("q")'""",
    # more of the above, at work
    "git_clone": "export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b;"
    "git init -q a; cd a; for i in 1 2 3; do echo $i >f$i; git add .; git commit -qm $i; done; git gc -q;"
    "cd ..; git clone -q a b; cd b; git log --oneline | cat; git fsck",
    "sqlite_wal": "sqlite3 d 'pragma journal_mode=wal; create table t(a); insert into t values(1)';"
    "sqlite3 d 'begin; insert into t values(2); commit; pragma wal_checkpoint; select count(*) from t'",
    "make_gcc": "printf 'all: a b\n%%: %%.c\n\tgcc -o $@ $<\n' >Makefile;"
    "for x in a b; do echo 'int main(void) { return 0; }' >$x.c; done; make -j2; ./a",
    "temporary_files": "seq 2000 | awk '{print >(\"f\" NR % 7)}'; sort -S 1M -T . f* | uniq -c | tail -1;"
    "sed -i s/1/2/ f1; cmp f1 f2",
    "tree": "mkdir -p d/e x; for i in $(seq 30); do echo $i >d/e/$i; done; tar c d | (cd x; tar x);"
    "find x -name '1*' -delete; find x | xargs -n 5 -P 3 ls -d; rm -rf x",
    "many_arguments": "cat $(seq 100); true $(seq 5000)",
    "traces": "strace -f -o log sh -c 'ls | wc'",
    "deleted": "cp /bin/sleep s; ./s 0.1 & sleep 0.02; rm s; wait",
    "orphan": "(sh -c 'sleep 0.1; id -u' &); sleep 0.3",
    "set_uid": "su -c id root; passwd --status; mount",
    "stopped": "sleep 0.3 & kill -STOP $!; sleep 0.05; kill -CONT $!; wait",
    # signals, crashes, bombs
    "kill_self": "kill -9 $$",
    "fork_bomb": "f() { [ $1 = 0 ] || { f $(($1 - 1)) & f $(($1 - 1)) & wait; }; }; f 5",
    "thread_bomb": """python3 -c '
import threading
def bomb(n):
    ts = [threading.Thread(target=bomb, args=(n - 1,)) for _ in range(2)] if n else []
    [t.start() for t in ts]; [t.join() for t in ts]
bomb(4)'""",
    **{name: f"$BIN/{name}" for name in SOURCES},
}
