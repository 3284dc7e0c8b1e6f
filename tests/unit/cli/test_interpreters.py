"""Which word is the script: interpreters as people call them."""

from __future__ import annotations

import shlex

import pytest

from sandbox.cli.interpreters import script_of

# command → the script, "" where there is none
CASES = """
python3 x.py                                    → x.py
python3.11 -u x.py a                            → x.py
/usr/bin/python3 ../x.py                        → ../x.py
python3 -W ignore x.py                          → x.py
python3 -Wignore x.py                           → x.py
python3 -X dev -I x.py                          → x.py
python3 -BW d x.py                              → x.py
python3 -BWd x.py                               → x.py
python3 --check-hash-based-pycs always x.py     → x.py
python3 --check-hash-based-pycs=always x.py     → x.py
python3 -- x.py                                 → x.py
python3 -c x.py                                 →
python3 -Ic x x.py                              →
python3 -m http x                               →
python3 -mhttp x                                →
python3 - x                                     →
python3                                         →
python3 -u                                      →
pypy3 x.py                                      → x.py
node -r ./a.js x.js                             → x.js
node --require=a x.js                           → x.js
node --max-old-space-size=5 x.js                → x.js
node -pe 1 x.js                                 →
nodejs --eval 1 x.js                            →
deno run -A x.ts                                → x.ts
deno x.ts                                       → x.ts
deno eval x                                     →
bun run x.ts                                    → x.ts
ruby -w x.rb                                    → x.rb
ruby -rjson x.rb                                → x.rb
ruby -r json x.rb                               → x.rb
ruby3.1 -ne x y                                 →
perl -w x.pl                                    → x.pl
perl -I lib x.pl                                → x.pl
perl -MList::Util=sum x.pl                      → x.pl
perl -i.bake x.pl                               → x.pl
perl -pi -e x y                                 →
perl -lne x y                                   →
php x.php                                       → x.php
php -f x.php                                    → x.php
php -d a=b x.php                                → x.php
php8.2 -r x y                                   →
lua -e x y.lua                                  → y.lua
lua5.4 -l m y.lua                               → y.lua
luajit y.lua                                    → y.lua
Rscript --vanilla x.R                           → x.R
Rscript -e 1 x                                  →
bash -x s.sh                                    → s.sh
bash +x s.sh                                    → s.sh
bash -o pipefail s.sh                           → s.sh
bash -eo pipefail s.sh                          → s.sh
bash --norc s.sh                                → s.sh
bash --rcfile f s.sh                            → s.sh
bash -xc cmd s.sh                               →
sh -c 'cat "$1"' sh s.sh                        →
sh -s x                                         →
dash s.sh                                       → s.sh
zsh s.zsh                                       → s.zsh
ksh93 s                                         → s
fish -d 3 s.fish                                → s.fish
fish --command=x y                              →
tclsh8.6 -encoding utf-8 x.tcl                  → x.tcl
guile -s x.scm                                  → x.scm
guile -e main x.scm                             → x.scm
guile -c 1 x                                    →
racket x.rkt                                    → x.rkt
racket -t x.rkt                                 → x.rkt
racket -e 1 x                                   →
ocaml -I dir x.ml                               → x.ml
julia --project=. -t 4 x.jl                     → x.jl
julia -e 1 x                                    →
awk -f p.awk d                                  → p.awk
awk -F : -f p.awk d                             → p.awk
mawk -F: -f p.awk d                             → p.awk
gawk --file p.awk d                             → p.awk
awk 1 d                                         →
awk -- 1 d                                      →
java A.java                                     → A.java
java -cp x A.java                               → A.java
java -jar a.jar                                 → a.jar
java -Xmx1g -jar a.jar x                        → a.jar
java -cp x Main A.java                          →
java --module m x.java                          →
gcc a.c                                         →
cat x                                           →
"""


@pytest.mark.parametrize("line", CASES.strip().splitlines())
def test_scripts(line):
    command, _, script = (part.strip() for part in line.partition("→"))
    argv = shlex.split(command)
    place = script_of(argv)
    assert (argv[place] if place is not None else "") == script
    if script and argv.count(script) == 1:
        assert place == argv.index(script)
