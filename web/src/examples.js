// Programs to begin with. Each title says what it shows; the first one of a language is what a new page has.

const HELLO = "Hello";
const INPUT = "Reads standard input";
const TALK = "Talks with you";
const LOOP = "Never ends: the time limit";
const NETWORK = "Tries the network";
const FORBIDDEN = "Asks for a forbidden system call";
const MEMORY = "Wants all the memory";
const COLOURS = "Colours, and what is no colour";
const FLOOD = "Writes without end";
const BROKEN = "Does not compile";
const LINES = "three\nshort\nlines\n";

const python = [
  {
    title: HELLO,
    code: `import platform
import time

print("Hello from", platform.python_version(), "in a sandbox")
for number in range(1, 6):
    print(number, "squared is", number * number, flush=True)
    time.sleep(0.2)
`,
  },
  { title: INPUT, code: `import sys\n\nfor number, line in enumerate(sys.stdin, 1):\n    print(f"{number:3} {line.rstrip()[::-1]}")\n`, stdin: LINES },
  {
    title: TALK,
    code: `import random

secret = random.randint(1, 100)
print("I think of a number between 1 and 100. Type a guess below.", flush=True)
while True:
    guess = int(input())
    if guess == secret:
        print("That is it!")
        break
    print("more" if guess < secret else "less", flush=True)
`,
    talks: true,
  },
  { title: LOOP, code: `print("This runs until it is stopped.", flush=True)\nwhile True:\n    pass\n`, limits: { wall: "2s" } },
  { title: NETWORK, code: `import urllib.request\n\nprint(urllib.request.urlopen("http://example.org/", timeout=3).read())\n` },
  {
    title: FORBIDDEN,
    code: `import ctypes
import os
import sys

libc = ctypes.CDLL(None, use_errno=True)
if libc.mount(b"none", b"/tmp", b"tmpfs", 0, None):
    sys.exit("mount: " + os.strerror(ctypes.get_errno()))
`,
  },
  { title: MEMORY, code: `kept = []\nwhile True:\n    kept.append(bytearray(b"x" * (16 << 20)))\n    print(len(kept) * 16, "MiB", flush=True)\n` },
  {
    title: COLOURS,
    code: `for code, name in enumerate(["red", "green", "yellow", "blue", "magenta", "cyan"], 31):
    print(f"\\033[{code}m{name}\\033[0m", f"\\033[1;{code}mbold\\033[0m", f"\\033[7;{code}m reversed \\033[0m")
print("<b>this is text</b>, and so is this: <img src=x onerror=alert(1)>")
print("a terminal would obey: \\033[2J \\033]0;title\\007 \\b\\b")
`,
  },
  {
    title: "Leaves a picture",
    code: `import struct
import zlib

def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

def depth(point):
    z = 0
    for step in range(60):
        z = z * z + point
        if abs(z) > 2:
            return step * 4
    return 255

rows = [bytes([0]) + bytes(depth(complex(x / 120 - 2.1, y / 120 - 1)) for x in range(360)) for y in range(240)]
with open("mandelbrot.png", "wb") as file:
    file.write(b"\\x89PNG\\r\\n\\x1a\\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 360, 240, 8, 0, 0, 0, 0)))
    file.write(chunk(b"IDAT", zlib.compress(b"".join(rows))) + chunk(b"IEND", b""))
`,
    collect: "*.png",
  },
  { title: FLOOD, code: `while True:\n    print("all work and no play makes a dull sandbox")\n` },
];

const javascript = [
  { title: HELLO, code: `console.log("Hello from Node", process.version, "in a sandbox");\n` },
  {
    title: INPUT,
    code: `const lines = require("node:readline").createInterface({ input: process.stdin });
lines.on("line", (line) => console.log([...line].reverse().join("")));
`,
    stdin: LINES,
  },
  { title: LOOP, code: `console.log("This runs until it is stopped.");\nfor (;;);\n`, limits: { wall: "2s" } },
  { title: NETWORK, code: `require("node:http").get("http://example.org/", (answer) => console.log(answer.statusCode));\n` },
];
const c = [
  { title: HELLO, code: `#include <stdio.h>\n\nint main(void) {\n    puts("Hello from C in a sandbox");\n    return 0;\n}\n` },
  { title: INPUT, code: `#include <stdio.h>\n\nint main(void) {\n    int lines = 0;\n    for (int c; (c = getchar()) != EOF;)\n        lines += c == '\\n';\n    printf("%d lines\\n", lines);\n}\n`, stdin: LINES },
  { title: LOOP, code: `int main(void) {\n    for (volatile int i = 0;; i++)\n        ;\n}\n`, limits: { wall: "2s" } },
  {
    title: FORBIDDEN,
    code: `#include <stdio.h>\n#include <sys/mount.h>\n\nint main(void) {\n    if (mount("none", "/tmp", "tmpfs", 0, 0)) {\n        perror("mount");\n        return 1;\n    }\n}\n`,
  },
  { title: "Crashes", code: `int main(void) {\n    int *nowhere = 0;\n    return *nowhere;\n}\n` },
  { title: BROKEN, code: `#include <stdio.h>\n\nint main(void) {\n    int count = "three";\n    printf("%d\\n", cuont)\n}\n` },
];

const cpp = [
  {
    title: HELLO,
    code: `#include <iostream>
#include <numeric>
#include <vector>

int main() {
    std::vector<int> numbers(10);
    std::iota(numbers.begin(), numbers.end(), 1);
    std::cout << "Hello from C++ in a sandbox\\n"
              << "the sum is " << std::accumulate(numbers.begin(), numbers.end(), 0) << '\\n';
}
`,
  },
  { title: INPUT, code: `#include <iostream>\n#include <string>\n\nint main() {\n    for (std::string line; std::getline(std::cin, line);)\n        std::cout << std::string(line.rbegin(), line.rend()) << '\\n';\n}\n`, stdin: LINES },
  { title: LOOP, code: `int main() {\n    for (volatile int i = 0;; i = i + 1)\n        ;\n}\n`, limits: { wall: "2s" } },
  { title: MEMORY, code: `#include <cstring>\n#include <iostream>\n\nint main() {\n    for (int i = 1;; ++i) {\n        std::memset(new char[16 << 20], 1, 16 << 20);\n        std::cout << i * 16 << " MiB" << std::endl;\n    }\n}\n` },
  { title: BROKEN, code: `#include <iostream>\n\nint main() {\n    std::string greeting = 42;\n    std::cout << greting << std::endl\n}\n` },
];

const java = [
  { title: HELLO, code: `public class Main {\n    public static void main(String[] args) {\n        System.out.println("Hello from Java " + System.getProperty("java.version") + " in a sandbox");\n    }\n}\n` },
  { title: INPUT, code: `import java.util.Scanner;\n\npublic class Main {\n    public static void main(String[] args) {\n        Scanner in = new Scanner(System.in);\n        while (in.hasNextLine())\n            System.out.println(new StringBuilder(in.nextLine()).reverse());\n    }\n}\n`, stdin: LINES },
  { title: LOOP, code: `public class Main {\n    public static void main(String[] args) {\n        while (true) ;\n    }\n}\n`, limits: { wall: "2s" } },
];

const EXAMPLES = {
  python3: python,
  pypy3: python,
  javascript,
  typescript: [{ title: HELLO, code: `const name: string = "TypeScript";\nconsole.log(\`Hello from \${name} in a sandbox\`);\n` }],
  c,
  cpp,
  java,
  bash: [
    { title: HELLO, code: `echo "Hello from Bash $BASH_VERSION in a sandbox"\nid\nls -l /\n` },
    { title: INPUT, code: `while read -r line; do\n  printf '%s has %d characters\\n' "$line" "\${#line}"\ndone\n`, stdin: LINES },
    { title: LOOP, code: `echo "This runs until it is stopped."\nwhile :; do :; done\n`, limits: { wall: "2s" } },
    { title: NETWORK, code: `exec 3<>/dev/tcp/192.0.2.1/80 || exit 1\n` },
    { title: FLOOD, code: `yes\n` },
  ],
  ruby: [
    { title: HELLO, code: `puts "Hello from Ruby #{RUBY_VERSION} in a sandbox"\n` },
    { title: INPUT, code: `$stdin.each_line { |line| puts line.chomp.reverse }\n`, stdin: LINES },
    { title: LOOP, code: `loop {}\n`, limits: { wall: "2s" } },
    { title: NETWORK, code: `require "socket"\n\nTCPSocket.new("192.0.2.1", 80)\n` },
  ],
  perl: [
    { title: HELLO, code: `use strict;\nuse warnings;\n\nprint "Hello from Perl $^V in a sandbox\\n";\n` },
    { title: INPUT, code: `while (my $line = <STDIN>) {\n    chomp $line;\n    print scalar reverse($line), "\\n";\n}\n`, stdin: LINES },
    { title: LOOP, code: `1 while 1;\n`, limits: { wall: "2s" } },
  ],
  lua: [
    { title: HELLO, code: `print("Hello from " .. _VERSION .. " in a sandbox")\n` },
    { title: INPUT, code: `for line in io.lines() do\n  print(line:reverse())\nend\n`, stdin: LINES },
    { title: LOOP, code: `while true do end\n`, limits: { wall: "2s" } },
  ],
  pascal: [
    { title: HELLO, code: `program Hello;\nbegin\n  writeln('Hello from Pascal in a sandbox');\nend.\n` },
    { title: INPUT, code: `program Lines;\nvar\n  line: string;\nbegin\n  while not eof do\n  begin\n    readln(line);\n    writeln(line, ' has ', length(line), ' characters');\n  end;\nend.\n`, stdin: LINES },
    { title: LOOP, code: `program Loop;\nbegin\n  while true do;\nend.\n`, limits: { wall: "2s" } },
  ],
  go: [{ title: HELLO, code: `package main\n\nimport (\n\t"fmt"\n\t"runtime"\n)\n\nfunc main() {\n\tfmt.Println("Hello from", runtime.Version(), "in a sandbox")\n}\n` }],
  rust: [{ title: HELLO, code: `fn main() {\n    let sum: u32 = (1..=10).sum();\n    println!("Hello from Rust in a sandbox; the sum is {sum}");\n}\n` }],
  php: [{ title: HELLO, code: `<?php\necho "Hello from PHP ", PHP_VERSION, " in a sandbox\\n";\n` }],
  haskell: [{ title: HELLO, code: `main :: IO ()\nmain = putStrLn "Hello from Haskell in a sandbox"\n` }],
  ocaml: [{ title: HELLO, code: `let () = print_endline "Hello from OCaml in a sandbox"\n` }],
  csharp: [{ title: HELLO, code: `using System;\n\nclass Program {\n    static void Main() {\n        Console.WriteLine("Hello from C# in a sandbox");\n    }\n}\n` }],
  kotlin: [{ title: HELLO, code: `fun main() {\n    println("Hello from Kotlin in a sandbox")\n}\n` }],
  prolog: [{ title: HELLO, code: `main :- write('Hello from Prolog in a sandbox'), nl.\n\n:- initialization(main).\n` }],
};

/** The examples of a language: [{title, code, stdin, limits, collect, talks}]. */
export function examplesOf(id) {
  return Object.hasOwn(EXAMPLES, id) ? EXAMPLES[id] : [];
}
