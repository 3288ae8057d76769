"""The programs that a rule for shell commands knows: what each may be given without asking. Pure.

A ``Reader`` only reads what it is asked to read, if it gets the options listed here and no other. ``RUNS`` are programs
that run other programs, load code, or connect: no wildcard of a rule may stand for a word of theirs. A program in
neither is known to the writer of a rule only, who has to name it.
"""

from __future__ import annotations

import re
from typing import NamedTuple

Words = tuple[str, ...]


class Reader(NamedTuple):
    """The words that a program may be given. ``flags`` None: any option, since none of them does harm.

    ``flags`` are the letters of options, ``valued`` those whose value may follow in the same word, ``names`` the words
    after ``--`` (in full) and, for a program such as find, whole words after ``-``. ``operands`` must match each other
    word; ``most`` is their number; ``first`` must match the first word.
    """

    flags: str | None = ""
    valued: str = ""
    names: frozenset[str] = frozenset()
    operands: str = ""
    most: int | None = None
    first: str = ""

    def refused_word(self, words: tuple[str, ...], spelled: tuple[bool, ...]) -> str | None:
        """Return the first word, of those not spelled in the rule, that the program may not get, or None."""
        if self.first and (not words or not re.fullmatch(self.first, words[0])):
            return words[0] if words else ""
        others = 0
        for place, (word, own) in enumerate(zip(words, spelled, strict=True)):
            if self.first and place == 0:
                continue
            is_option = word.startswith("-") and word != "-"
            others += not is_option
            if own:
                continue
            if is_option:
                fine = self.flags is None or self._takes(word)
            else:
                fine = not self.operands or re.fullmatch(self.operands, word) is not None
                fine = fine and (self.most is None or others <= self.most)
            if not fine:
                return word
        return None

    def _takes(self, word: str) -> bool:
        if word == "--" or word[1:] in self.names:
            return True
        if word.startswith("--"):
            return word[2:].partition("=")[0] in self.names
        for letter in word[1:]:
            if letter in self.valued:
                return True
            if letter not in (self.flags or ""):
                return False
        return True


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_DIGITS = "0123456789"
_ANY = Reader(None)
_READ_ANYTHING = _names(
    """cat tac nl head tail wc ls dir vdir stat du df pwd whoami id groups nproc arch basename dirname realpath
    readlink cut paste tr fold fmt expand unexpand join comm cmp md5sum sha1sum sha224sum sha256sum sha384sum
    sha512sum b2sum cksum sum base32 base64 od hexdump column grep egrep fgrep echo true false seq expr factor
    numfmt which type whereis free uptime w who ps pgrep lsblk lscpu printenv locale cal jq uname zipinfo
    logname users tty pathchk tsort rev cd"""
)

READERS: dict[str, Reader] = {
    **dict.fromkeys(_READ_ANYTHING, _ANY),
    "diff": Reader(
        "abBdiwuqrsNyTcEtpe" + _DIGITS,
        "UxIC",
        _names(
            "brief unified context side-by-side recursive new-file ignore-case ignore-all-space ignore-space-change"
            " ignore-blank-lines exclude text color report-identical-files strip-trailing-cr width"
        ),
    ),
    "printf": Reader(),
    "test": Reader(names=_names("f d e r w x s L h n z b c p S u g k O G N eq ne lt le gt ge nt ot ef a o")),
    "hostname": Reader("fsiIdA", names=_names("fqdn short ip-address all-ip-addresses domain"), most=0),
    "strings": Reader("afo", "nte", _names("all bytes radix encoding print-file-name")),
    "sort": Reader(
        "bdfghiMnRrVcCmsuz",
        "kt",
        _names(
            "ignore-leading-blanks dictionary-order ignore-case general-numeric-sort ignore-nonprinting month-sort"
            " human-numeric-sort numeric-sort random-sort reverse version-sort check merge stable unique"
            " zero-terminated key field-separator sort"
        ),
    ),
    "uniq": Reader(
        "cdDiuz",
        "fsw",
        _names("count repeated all-repeated skip-fields ignore-case skip-chars unique check-chars"),
        most=1,
    ),
    "date": Reader("uR", "dI", _names("utc universal iso-8601 rfc-3339 rfc-email date"), operands=r"\+.*"),
    "tree": Reader(
        "adfilpsughDFtrcUvnCASQxLPI" + _DIGITS,
        "",
        _names("du dirsfirst gitignore noreport prune filelimit si inodes sort charset matchdirs ignore-case L P I"),
    ),
    "file": Reader("bihLNkrs0", "", _names("brief mime mime-type mime-encoding dereference no-dereference extension")),
    "find": Reader(
        _DIGITS,
        names=_names(
            "name iname path ipath wholename iwholename type xtype maxdepth mindepth size mtime mmin ctime cmin atime"
            " amin newer anewer cnewer empty perm user group uid gid nouser nogroup readable writable executable regex"
            " iregex regextype links inum samefile lname ilname prune print print0 printf ls quit not and or a o xdev"
            " mount depth follow L H P true false daystart noleaf fstype newermt newerct newerat used"
        ),
    ),
    "rg": Reader(
        "nilLcwvoqNHhSsFPUuxj" + _DIGITS,
        "ABCegtTmMr",
        _names(
            "line-number ignore-case files files-with-matches files-without-match count count-matches word-regexp"
            " invert-match only-matching quiet no-line-number with-filename no-filename smart-case case-sensitive"
            " fixed-strings pcre2 multiline hidden no-ignore no-ignore-vcs glob iglob type type-not type-list"
            " max-count max-columns max-depth after-context before-context context regexp json stats sort sortr"
            " heading no-heading color colors column vimgrep passthru replace trim sort-files null no-config"
        ),
    ),
    "sed": Reader(
        "nErsuz",
        "",
        _names("quiet silent regexp-extended separate null-data"),
    ),
    "awk": Reader("", "F", operands=r"(?!/inet).*"),
    "tar": Reader(first=r"-?t[vzjJ]*f", operands=r"[^:]*"),
    "unzip": Reader(first=r"-(?:l|v|t|lv|Z1?)"),
    "command": Reader(first=r"-[vV]"),
    "systemctl": Reader(
        "alq",
        "n",
        _names("no-pager all type state failed user system quiet lines full plain no-legend property value output"),
        first=r"status|show|list-units|list-unit-files|list-timers|list-sockets|is-active|is-enabled|is-failed|cat",
    ),
    "journalctl": Reader(
        "bekfxrqa",
        "nupotSUg",
        _names(
            "no-pager since until unit user-unit output lines boot dmesg catalog reverse follow priority grep quiet"
            " identifier list-boots disk-usage utc no-hostname all user system no-tail"
        ),
    ),
    "pip": Reader(first=r"list|freeze|show|check", names=_names("format user local not-required all files verbose")),
    "npm": Reader("gal", first=r"ls|list", names=_names("all depth json long global parseable")),
    "docker": Reader(None, first=r"ps|images|logs|inspect|version|info|stats|top|port|diff|history"),
}
for _alias, _name in (("pip3", "pip"), ("gawk", "awk"), ("mawk", "awk"), ("nawk", "awk")):
    READERS[_alias] = READERS[_name]

_ADDRESS = r"(?:\d+|\$|/[\w .:=-]+/)"
SCRIPTS = {
    "sed": rf"{_ADDRESS}(?:,{_ADDRESS})?[pdq]|s([/|,#])[\w .:=-]*\1[\w .:=-]*\1[gIp]*",
    **dict.fromkeys(
        ("awk", "gawk", "mawk", "nawk"),
        r'(?:NR *[=<>!]=? *\d+|/[\w .:=-]+/)? *\{ *print(?: +(?:\$(?:\d+|NF)|NR|NF|"[\w .:=,-]*")'
        r'(?: *,? *(?:\$(?:\d+|NF)|NR|NF|"[\w .:=,-]*"))*)? *\}|NR *[=<>!]=? *\d+',
    ),
}
"""The programs whose first operand is a program in a language that can run commands, each with the harmless ones."""

INTERPRETERS = _names(
    """sh bash dash ash zsh ksh mksh fish csh tcsh rbash python pypy perl ruby node nodejs deno bun php lua luajit
    tclsh wish expect guile Rscript R julia groovy scala jshell java osascript pwsh elixir erl ghci runghc ocaml
    racket swipl gdb irb jjs jrunscript rscript ts-node tsx"""
)
"""Programs that run a script or a language's text."""
TAKE_ONE_SCRIPT = _names("sh bash dash ash zsh ksh mksh python pypy perl ruby node nodejs php lua luajit tclsh Rscript")
"""Those that give every word after the script to the script: a rule may have a wildcard after one that it spells."""

CHANGES_THE_PLACE = _names("cd pushd popd")

RUNS = INTERPRETERS | _names(
    """. : source eval exec builtin enable trap alias unalias declare typeset local export readonly let read mapfile
    readarray unset set shopt compgen complete compopt bind fc hash jobs wait getopts kill suspend return exit logout
    times ulimit umask caller history help dirs pushd popd disown bg fg shift break continue
    env xargs parallel sudo doas su runuser setpriv chroot unshare nsenter setsid nohup nice ionice chrt taskset
    timeout time stdbuf watch script scriptreplay flock strace ltrace gdbserver perf valgrind catchsegv prlimit
    capsh setarch linux32 linux64 i386 x86_64 start-stop-daemon systemd-run at batch crontab busybox toybox bwrap
    firejail proot fakeroot choom cgexec numactl rlwrap unbuffer entr inotifywait faketime torsocks torify proxychains
    ld.so ld-linux-x86-64.so ld-linux.so ldd run-parts run-mailcap xdg-open open see update-alternatives dbus-launch
    vi vim view vimdiff nvim ex ed emacs nano pico joe micro less more most man info pg lynx w3m elinks links
    make gmake cmake ninja bazel gradle gradlew mvn ant sbt rake tox nox invoke just task meson scons npx yarn pnpm
    npm pip pipx pipenv poetry uv uvx conda mamba gem bundle bundler cargo go rustc gcc cc clang g++ c++ cpp as ld
    gold tsc pytest nose2 mocha jest phpunit composer cpan cpanm easy_install hatch pre-commit dotnet msbuild nmake
    docker podman nerdctl ctr crictl buildah skopeo kubectl helm oc terraform ansible ansible-playbook vagrant lxc
    lxd virsh qemu-system-x86_64 machinectl systemctl journalctl service initctl loginctl busctl dmesg
    ssh scp sftp rsync rcp rsh telnet nc ncat netcat socat curl wget ftp lftp tftp aria2c axel fetch openssl gpg
    ping ping6 traceroute dig nslookup host whois getent nmap tcpdump tshark wireshark mail mailx sendmail mutt finger
    mysql mariadb psql sqlite3 redis-cli mongo mongosh sqlplus isql ip ss iptables ifconfig arp
    tar zip unzip 7z 7za rar cpio ar pax gzip gunzip zcat zgrep zless zmore zdiff bzip2 bzless bzmore xz xzless
    split csplit sed awk gawk mawk nawk fd fdfind ag ack find rg date tree file sort uniq hostname strings printf
    test command dd tee install nm objdump size sdiff diff3 vipw vigr visudo chsh chfn passwd git-shell hg svn cvs
    bzr fossil gh glab dpkg dpkg-query apt apt-get aptitude apt-cache dnf yum rpm rpmquery zypper pacman apk snap
    flatpak brew port nix nix-shell nix-build guix opkg screen tmux byobu dtach abduco xterm tic tput reset stty
    column-run nroff troff groff pdftex latex pdflatex xelatex tex luatex lualatex bibtex dvips gs ghostscript
    convert magick identify mogrify exiftool ffmpeg ffprobe gimp inkscape soffice libreoffice pandoc sphinx-build
    logrotate logger rlogin ssh-agent ssh-add ssh-keygen ssh-keyscan aa-exec agetty ansible-test ansible-doc aspell
    basenc-run bconsole bpftrace bridge byebug c89 c99 check_by_ssh choom cobc cowsay cowthink cupsfilter darkstat
    dc debugfs dialog dmsetup dstat dvipdf eb eqn espeak facter fastfetch fish fping gcloud aws az gcore gem genie
    genisoimage gimp gtester iconv-run jtag ksu latexmk launchctl ldconfig login look-run lualatex lwp-download
    lwp-request mount umount nft ntpdate octave openvpn pexec pidstat pkexec pwsh qpdf rpmdb rpmverify sash
    screen sg slsh smbclient softlimit spamassassin ssh-copy-id sysctl systemd-resolve task tasksh tdbtool
    telinit tmate update-rc.d uudecode varnishncsa vlc wall xdotool xetex xmodmap xxd yash zathura zsoelim zypper
    agentctl crush codex claude gemini aider"""
)

GIT_READS = _names(
    """log status diff show blame annotate grep ls-files ls-tree rev-parse rev-list shortlog describe cat-file
    merge-base name-rev diff-tree diff-index diff-files show-ref for-each-ref count-objects check-ignore check-attr
    whatchanged cherry show-branch version var range-diff verify-pack"""
)
GIT_SAFE_LINES = re.compile(
    r"branch(?: (?:-a|-r|-v|-vv|-av|-avv|--all|--remotes|--show-current|--list|--merged|--no-merged|--verbose))*"
    r"|remote(?: -v| --verbose)?|tag(?: -l| --list| -n)?|stash list|worktree list(?: --porcelain)?"
    r"|reflog(?: show)?|config (?:--list|-l|--get [\w.-]+)|notes list|bisect log"
)
GIT_RUNS = _names(
    """fetch clone push pull archive bisect rebase submodule difftool mergetool config filter-branch hook help
    ls-remote remote svn p4 cvsimport cvsserver send-email imap-send instaweb daemon maintenance credential gui gitk
    citool upload-pack receive-pack upload-archive http-backend fast-import fast-export remote-ext remote-fd
    for-each-repo init web--browse shell request-pull quiltimport gc repack lfs annex am"""
)
"""The subcommands of git that run programs, connect, or set what git runs later."""
GIT_OPTIONS = _names(
    """oneline stat shortstat numstat dirstat summary name-only name-status graph decorate decorate-refs
    no-decorate all branches tags remotes glob author committer grep all-match invert-grep since after until
    before max-count skip format pretty date abbrev abbrev-commit no-abbrev-commit patch no-patch patch-with-stat
    unified word-diff word-diff-regex color no-color color-words color-moved cached staged merge-base
    ignore-space-change
    ignore-all-space ignore-blank-lines ignore-space-at-eol ignore-cr-at-eol check raw full-index binary minimal
    patience histogram diff-algorithm find-renames find-copies find-copies-harder no-renames diff-filter pickaxe-all
    pickaxe-regex relative follow first-parent merges no-merges reverse topo-order date-order author-date-order
    left-right cherry-pick cherry-mark boundary simplify-merges ancestry-path full-history walk-reflogs source
    use-mailmap no-mailmap notes no-notes cc combined-all-paths diff-merges short long branch
    show-stash porcelain untracked-files ignored ignore-submodules ahead-behind no-ahead-behind column no-column
    no-ext-diff no-textconv no-pager exit-code quiet text others modified deleted stage unmerged
    exclude-standard exclude exclude-from directory deduplicate eol full-name error-unmatch
    name-rev verify show-toplevel show-prefix show-cdup git-dir git-common-dir abbrev-ref symbolic-full-name
    is-inside-work-tree is-inside-git-dir is-bare-repository show-object-format count numbered email
    contains candidates match dirty always exact-match heads points-at merged no-merged sort
    line-number files-with-matches files-without-match fixed-strings extended-regexp perl-regexp basic-regexp
    ignore-case word-regexp invert-match only-matching show-function function-context context after-context
    before-context break heading no-index untracked max-depth threads and or not line-porcelain show-name
    show-number show-email root incremental tree-only object-only batch-check independent is-ancestor octopus
    fork-point objects no-walk no-object-names size"""
)
"""The long options of ``GIT_READS``. A short one is any that has no ``O``: ``git grep -O`` runs a pager."""
GIT_BEFORE = _names("--no-pager --no-optional-locks --literal-pathspecs --version -P")
RESERVED = _names("! { } [[ ]] case coproc do done elif else esac fi for function if in select then time until while")
"""The words that bash does not take for a program."""
