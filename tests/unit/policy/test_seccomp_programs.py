"""The compiled filters in the running kernel: real programs work and make no reported call; attacks get their answers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sandbox.policy.load import load_chain
from sandbox.policy.resolve import resolve
from sandbox.policy.seccomp.compile import compile_policy
from tests.support.filtered import run_filtered
from tests.support.require import requires

pytestmark = requires("seccomp")
ARCH = os.uname().machine


def compiled(profile: str):
    return compile_policy(resolve(load_chain(profile)).seccomp, ARCH)


HELLO = '#include <stdio.h>\nint main(void) { puts("hello"); return 0; }\n'
THREADS = """
#include <pthread.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int count;
static void *work(void *unused) { pthread_mutex_lock(&lock); count++; pthread_mutex_unlock(&lock); return unused; }
int main(void)
{
    pthread_t threads[8];
    pthread_attr_t attr;
    cpu_set_t cpus;
    if (pthread_getattr_np(pthread_self(), &attr) || pthread_getaffinity_np(pthread_self(), sizeof cpus, &cpus)) return 2;
    for (int i = 0; i < 8; i++) if (pthread_create(&threads[i], 0, work, 0)) return 3;
    for (int i = 0; i < 8; i++) pthread_join(threads[i], 0);
    pid_t child = fork();
    if (!child) _exit(7);
    int status;
    if (waitpid(child, &status, 0) != child || WEXITSTATUS(status) != 7) return 4;
    printf("%d\\n", count);
    return 0;
}
"""
SHELL = r"""
set -eu
mkdir d && cd d
seq 1 100 | sort -rn | head -3 | tr '\n' ' ' > out
cp out copy; mv copy moved; ln -s moved link; ln moved hard; touch -d @0 moved; chmod 640 moved; rm hard
mkfifo pipe; (cat pipe > got &) ; echo through > pipe; while [ ! -s got ]; do :; done
tar cf a.tar moved link out; mkdir x; tar xf a.tar -C x
find . -type f | sort | xargs cat | sha256sum > sum
ls -la > listing; stat -c %a moved; df . > /dev/null; id -u > /dev/null; nproc > /dev/null; uname -a > /dev/null
timeout 5 true; nice -n 5 true; sleep 0.01; date > /dev/null; stty -a < /dev/null 2> /dev/null || true
trap 'echo trapped' USR1; kill -USR1 $$
cat x/out; (exit 3) || echo $?
"""
PYTHON = """
import asyncio, concurrent.futures, ctypes, hashlib, json, mmap, multiprocessing, os, random, resource, select, shutil, signal
import socket, sqlite3, ssl, subprocess, sys, tempfile, threading, time, zlib
multiprocessing.set_start_method("fork")
with concurrent.futures.ThreadPoolExecutor(4) as pool:
    assert sum(pool.map(abs, range(100))) == 4950
assert subprocess.run([sys.executable, "-c", "print(2)"], capture_output=True, text=True).stdout == "2\\n"
assert subprocess.check_output("echo 3 | cat", shell=True) == b"3\\n"
async def main():
    process = await asyncio.create_subprocess_exec("cat", stdin=-1, stdout=-1)
    out, _ = await process.communicate(b"4")
    server = await asyncio.start_server(lambda r, w: (w.write(b"5"), w.close()), "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    got = await reader.read()
    writer.close()
    server.close()
    loop = asyncio.get_running_loop()
    return out + got + await loop.run_in_executor(None, lambda: b"6")
assert asyncio.run(main()) == b"456"
with multiprocessing.Pool(2) as pool:
    assert pool.map(abs, [-1, -2]) == [1, 2]
lock, queue = multiprocessing.Lock(), multiprocessing.Queue()
child = multiprocessing.Process(target=lambda: queue.put(os.getppid()))
child.start()
assert queue.get() == os.getpid()
child.join()
from multiprocessing import shared_memory
block = shared_memory.SharedMemory(create=True, size=4096)
block.close()
block.unlink()
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
signal.setitimer(signal.ITIMER_REAL, 0.01)
assert signal.sigwait({signal.SIGALRM}) == signal.SIGALRM
left, right = socket.socketpair()
left.sendall(b"x"); assert right.recv(1) == b"x"
with tempfile.TemporaryDirectory() as place:
    sqlite3.connect(place + "/db").execute("create table t (a)").connection.commit()
    shutil.make_archive(place + "/a", "zip", place)
    os.chmod(place + "/db", 0o600); os.utime(place + "/db"); os.truncate(place + "/db", 0)
    with open(place + "/m", "w+b") as file:
        file.write(b"1" * 4096); file.flush(); os.fsync(file.fileno()); mmap.mmap(file.fileno(), 4096).close()
resource.setrlimit(resource.RLIMIT_NOFILE, resource.getrlimit(resource.RLIMIT_NOFILE))
os.nice(1); os.sched_getaffinity(0); os.sched_yield(); os.getrandom(8)
os.memfd_create("m"); os.eventfd(0); os.pidfd_open(os.getpid())
print("fine")
"""
NODE = """
const { Worker } = require("worker_threads"), fs = require("fs"), http = require("http"), cp = require("child_process");
const zlib = require("zlib"), crypto = require("crypto"), os = require("os");
async function main() {
  const worker = new Worker("require('worker_threads').parentPort.postMessage(42)", { eval: true });
  const answer = await new Promise((ok) => worker.on("message", ok));
  await fs.promises.writeFile("f.txt", "x".repeat(1 << 20));
  const size = (await fs.promises.readFile("f.txt")).length;
  const server = http.createServer((q, r) => r.end("served"));
  await new Promise((ok) => server.listen(0, "127.0.0.1", ok));
  const body = await (await fetch(`http://127.0.0.1:${server.address().port}/`)).text();
  server.close();
  const child = cp.execFileSync("cat", { input: "piped" }).toString();
  const packed = await new Promise((ok) => zlib.gzip("z".repeat(1000), (e, d) => ok(d.length)));
  const key = await new Promise((ok) => crypto.scrypt("a", "b", 16, (e, k) => ok(k.length)));
  let sum = 0;
  for (let i = 0; i < 1e6; i++) sum += i % 7;
  os.cpus(); os.loadavg(); os.hostname(); fs.watch(".").close();
  console.log(answer, size, body, child, packed > 0, key, sum > 0);
  process.exit(0);
}
main();
"""
JAVA = """
import java.nio.file.*;
import java.util.concurrent.*;
import java.util.stream.*;
public class Main {
    public static void main(String[] args) throws Exception {
        ExecutorService pool = Executors.newFixedThreadPool(4);
        Future<Integer> sum = pool.submit(() -> IntStream.range(0, 100000).parallel().sum() > 0 ? 1 : 1);
        Files.writeString(Path.of("j.txt"), "x".repeat(100000));
        Process child = new ProcessBuilder("cat", "j.txt").redirectErrorStream(true).start();
        int read = child.getInputStream().readAllBytes().length;
        StringBuilder text = new StringBuilder();
        for (int i = 0; i < 200000; i++) text.append(i % 10);
        System.gc();
        System.out.println(sum.get() + " " + read + " " + text.length() + " " + Runtime.version().feature() / 100);
        pool.shutdown();
    }
}
"""
CPP = """
#include <iostream>
#include <thread>
#include <vector>
int main()
{
    std::vector<std::thread> threads;
    int ended = 0;
    for (int i = 0; i < 3; i++) threads.emplace_back([] {});
    for (auto &thread : threads) { thread.join(); ended++; }
    std::cout << ended << std::endl;
}
"""


def works(profile: str, command: list[str], place: Path) -> str:
    """The output of a program that ran to its end without one call that would be reported."""
    done = run_filtered(compiled(profile), command, place, unreported=True)
    assert done.returncode != -signal.SIGSYS, "a call was made that is reported as an attack"
    assert done.returncode == 0, done
    return done.stdout


@requires("gcc")
@pytest.mark.parametrize("profile", ["strict", "native"])
@pytest.mark.parametrize("flags", [["-static"], []], ids=["static", "dynamic"])
def test_c_programs(profile, flags, tmp_path):
    for source, output in ((HELLO, "hello\n"), (THREADS, "8\n")):
        if source == THREADS and profile == "strict":
            continue  # it starts a child
        (tmp_path / "a.c").write_text(source)
        subprocess.run(["gcc", "-D_GNU_SOURCE", "-pthread", *flags, "-o", "a", "a.c"], cwd=tmp_path, check=True)
        assert works(profile, ["./a"], tmp_path) == output


def test_shell_and_coreutils(tmp_path):
    assert works("default", ["bash", "-c", SHELL], tmp_path) == "640\ntrapped\n100 99 98 3\n"


@pytest.mark.parametrize("program", [sys.executable, "/usr/bin/python3"])
def test_python(program, tmp_path):
    if not os.path.exists(program):
        program = sys.executable
    assert works("python", [program, "-c", PYTHON], tmp_path) == "fine\n"


@requires("node")
def test_node(tmp_path):
    assert works("node", ["node", "-e", NODE], tmp_path) == "42 1048576 served piped true 16 true\n"


@requires("javac")
def test_java(tmp_path):
    (tmp_path / "Main.java").write_text(JAVA)
    works("compile", ["javac", "-J-Xmx128m", "Main.java"], tmp_path)
    assert works("compile", ["java", "-Xmx64m", "Main"], tmp_path) == "1 100000 200000 0\n"


@requires("g++")
def test_compilers(tmp_path):
    (tmp_path / "a.c").write_text(HELLO)
    (tmp_path / "b.cc").write_text(CPP)
    works("compile", ["gcc", "-O2", "-pipe", "-flto", "a.c", "-o", "a"], tmp_path)
    works("compile", ["g++", "-O2", "-g", "b.cc", "-pthread", "-o", "b"], tmp_path)
    assert works("native", ["./a"], tmp_path) == "hello\n"
    assert works("native", ["./b"], tmp_path) == "3\n"
