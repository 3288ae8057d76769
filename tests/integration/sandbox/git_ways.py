"""Ways by which a command can make git run a program outside: the setup, and the attack."""

from __future__ import annotations

from typing import NamedTuple

_HOOKS = "pre-commit post-commit post-checkout post-index-change post-rewrite reference-transaction prepare-commit-msg"
_EVIL_HOOKS = f'mkdir -p $H; for h in {_HOOKS}; do printf "#!/bin/sh\\ntouch %s\\n" $MARK >$H/$h; chmod +x $H/$h; done'
_EVIL = 'git config -f {file} core.fsmonitor "touch $MARK; false"'
_EVIL_COPY = f"cp -r .git/. .cache-x/; {_EVIL.format(file='.cache-x/config')}"
_INDEX = """
import hashlib, struct, subprocess, sys
blob = b"#!/bin/sh\\ntouch " + sys.argv[1].encode() + b"\\n"
body = subprocess.run(["git", "hash-object", "-w", "--stdin"], input=blob, capture_output=True).stdout.decode().strip()
names = [b".git/hooks/post-checkout", b".git/hooks/pre-commit", b"file"]
entries = b""
for name in names:
    entry = b"\\0" * 24 + struct.pack(">I", 0o100755) + b"\\0" * 12 + bytes.fromhex(body)
    entry += struct.pack(">H", len(name)) + name
    entries += entry + b"\\0" * (8 - len(entry) % 8)
data = b"DIRC" + struct.pack(">II", 2, len(names)) + entries
open(".git/index", "wb").write(data + hashlib.sha1(data).digest())
"""
_BARE = "; git config -f {0}/config core.bare false; git config -f {0}/config core.worktree .."
_HUSKY = """
mkdir -p .husky/_; git config core.hooksPath .husky/_; echo true >.husky/pre-commit
printf '#!/bin/sh\\n[ ! -f .husky/pre-commit ] || sh .husky/pre-commit\\n' >.husky/_/pre-commit
chmod +x .husky/_/pre-commit
"""
_FILTER = """
mkdir t; printf '#!/bin/sh\\ncat\\n' >t/c; chmod +x t/c
git config filter.x.clean ./t/c; echo '* filter=x' >.gitattributes
"""


class Way(NamedTuple):
    """``before`` makes the workspace (in a repository with one commit), ``command`` is the attack.

    ``works``: whether it works without a guard, so that the test shows what the guard is good for.
    """

    before: str
    command: str
    works: bool = True


WAYS = {
    "commondir": Way("", f"{_EVIL_COPY}; echo ../.cache-x >.git/commondir"),
    "hooks as a link": Way("", f"H=h; {_EVIL_HOOKS}; mv .git/hooks .git/h2; ln -s ../h .git/hooks"),
    "hooks that were missing": Way("rm -rf .git/hooks", f"H=.git/hooks; {_EVIL_HOOKS}"),
    "hooks replaced": Way("", f"rm -rf .git/hooks; H=.git/hooks; {_EVIL_HOOKS}"),
    "a hook added": Way("", f"H=.git/hooks; {_EVIL_HOOKS}"),
    ".git as a link": Way("", f"mv .git .g; ln -s .g .git; {_EVIL.format(file='.g/config')}"),
    ".git as a file": Way("", f"{_EVIL_COPY}; mv .git .g; echo gitdir: .cache-x >.git"),
    ".git moved, made anew": Way("", f"mv .git .g; git init -q .; {_EVIL.format(file='.git/config')}"),
    "config written to": Way("", _EVIL.format(file=".git/config")),
    "config appended to": Way("", 'printf "[core]\\nfsmonitor = touch $MARK; false\\n" >>.git/config'),
    "config replaced": Way("", f"cp .git/config c; {_EVIL.format(file='c')}; mv -f c .git/config"),
    "config by a hard link": Way("", f"ln .git/config c; {_EVIL.format(file='c')}; cat c >.git/config"),
    "config.worktree": Way("git config extensions.worktreeConfig true", _EVIL.format(file=".git/config.worktree")),
    "a file of include.path": Way(
        "git config include.path ../.gitlocal; touch .gitlocal", _EVIL.format(file=".gitlocal")
    ),
    "a missing file of include.path": Way("git config include.path ../.gitlocal", _EVIL.format(file=".gitlocal")),
    "a file that an include includes": Way(
        "git config include.path ../a.cfg; git config -f a.cfg include.path b.cfg", _EVIL.format(file="b.cfg")
    ),
    "core.hooksPath": Way("git config core.hooksPath .husky; mkdir .husky", f"H=.husky; {_EVIL_HOOKS}"),
    "a missing core.hooksPath": Way("git config core.hooksPath tools", f"H=tools; {_EVIL_HOOKS}"),
    "husky's folder": Way(_HUSKY, "echo touch $MARK >.husky/pre-commit; H=.husky/_; " + _EVIL_HOOKS),
    "what a hook is a link to": Way(
        "mkdir s; printf '#!/bin/sh\\n' >s/x; chmod +x s/x; mkdir -p .git/hooks; ln -s ../../s/x .git/hooks/pre-commit",
        'printf "#!/bin/sh\\ntouch $MARK\\n" >s/x',
    ),
    "a filter's program": Way(_FILTER, 'printf "#!/bin/sh\\ntouch $MARK; cat\\n" >t/c; echo more >>file'),
    "a submodule's .git file": Way(
        "git init -q --bare ../m.git; git clone -q ../m.git sub 2>&1; (cd sub; echo 1 >f; git add f; $C -m s);"
        " git submodule -q add ../m.git sub; git submodule -q absorbgitdirs; git add -A; $C -m sub",
        f"cp -r .git/modules/sub evil; {_EVIL.format(file='evil/config')}; git config -f evil/config core.worktree"
        " ../sub; rm -f sub/.git; echo gitdir: ../evil >sub/.git",
    ),
    "a submodule's configuration": Way(
        "git init -q --bare ../m.git; git clone -q ../m.git sub 2>&1; (cd sub; echo 1 >f; git add f; $C -m s);"
        " git submodule -q add ../m.git sub; git submodule -q absorbgitdirs; git add -A; $C -m sub",
        _EVIL.format(file=".git/modules/sub/config"),
    ),
    "commondir of a nested repository": Way(
        "git init -q n; (cd n; echo 1 >f; git add f; $C -m n)",
        f"cp -r n/.git/. .cache-y/; {_EVIL.format(file='.cache-y/config')}; echo ../../.cache-y >n/.git/commondir",
    ),
    "a nested repository's configuration": Way("git init -q n", _EVIL.format(file="n/.git/config")),
    "a nested bare repository's configuration": Way(
        "git init -q --bare b", _EVIL.format(file="b/config") + _BARE.format("b")
    ),
    "a worktree's own folder": Way(
        "git worktree add -q ../w; git config extensions.worktreeConfig true",
        "for w in .git/worktrees/*; do " + _EVIL.format(file="$w/config.worktree") + "; done",
    ),
    "a rebase's todo": Way(
        "",
        "mkdir .git/rebase-merge; cd .git/rebase-merge; echo exec touch $MARK >git-rebase-todo; echo refs/heads/main"
        " >head-name; git rev-parse HEAD | tee onto >orig-head; touch interactive done; echo 1 >msgnum; echo 1 >end",
    ),
    "a repository where none was": Way("rm -rf .git", f"git init -q .; {_EVIL.format(file='.git/config')}"),
    "a .git file where none was": Way(
        "rm -rf .git", f"git init -q e; {_EVIL.format(file='e/.git/config')}; mv e/.git e/g; echo gitdir: e/g >.git"
    ),
    "a repository in a new subfolder": Way("", f"mkdir d; git init -q d; {_EVIL.format(file='d/.git/config')}"),
    "a repository in an old subfolder": Way("mkdir d", f"git init -q d; {_EVIL.format(file='d/.git/config')}"),
    "a bare repository in a subfolder": Way(
        "", f"git init -q --bare d; {_EVIL.format(file='d/config')}" + _BARE.format("d")
    ),
    "a folder that becomes a repository": Way(
        "git init -q --bare d; rm d/HEAD",
        f"echo ref: refs/heads/main >d/HEAD; {_EVIL.format(file='d/config')}" + _BARE.format("d"),
    ),
    "a repository in a closed folder": Way(
        "", f"mkdir d; git init -q d; {_EVIL.format(file='d/.git/config')}; chmod 000 d"
    ),
    "a repository with an old date": Way(
        "mkdir d", f"git init -q d; {_EVIL.format(file='d/.git/config')}; touch -d 2001-01-01 d . d/.git"
    ),
    "a repository deep down": Way(
        "",
        "D=$(printf 'a/%.0s' $(seq 60)); mkdir -p $D; git init -q $D; git config -f $D/.git/config"
        ' core.fsmonitor "touch $MARK; false"',
    ),
    "a repository in node_modules": Way(
        "mkdir -p node_modules/x", f"git init -q node_modules/x; {_EVIL.format(file='node_modules/x/.git/config')}"
    ),
    "the index names git's own files": Way("", f"python3 -c '{_INDEX}' $MARK"),
    "HEAD leads out": Way("", f"{_EVIL_COPY}; echo ref: ../.cache-x/HEAD >.git/HEAD", works=False),
    "a ref is a link": Way("", "ln -s $MARK .git/refs/heads/evil; echo x >.git/refs/heads/evil", works=False),
    "objects lead out": Way(
        "",
        "rm -rf .git/objects/zz; ln -s /tmp .git/objects/zz; mkdir -p .git/objects/info; echo /tmp"
        " >.git/objects/info/alternates",
        works=False,
    ),
}
