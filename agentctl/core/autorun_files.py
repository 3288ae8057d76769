"""The list of files that other programs run or obey later, and the policy for a tool that writes one. Pure.

Each row has a policy, the program that runs or obeys the file, and patterns. A pattern is a name, or the last parts of
a path at any depth. ``*`` stands for any text within one name. A pattern that ends with ``/`` means the entry and
everything below it; any other, only the entry itself. Names are compared without case, like on file systems that
normalise Unicode, ignore invisible characters or drop dots and blanks at the end.

- ``never``: git's own files and agentctl's own. No tool writes them, whatever the rules say.
- ``asks``: files that a program runs or obeys by itself: on entering a folder, on opening it, on the next command, at
  login.
- ``reported``: files that a program runs when somebody builds, tests or pushes. They are written, and reported at the
  end.

To add a name, put it into the row of its program. The tests compare the table with the help.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Literal, NamedTuple, TypeAlias

AutorunPolicy: TypeAlias = Literal["never", "asks", "reported"]


class AutorunFile(NamedTuple):
    """The program that runs or obeys a file, and the policy for a tool that writes it."""

    policy: AutorunPolicy
    program: str


_NEVER: tuple[tuple[str, str], ...] = (
    ("git", ".git/ git~1/"),  # git~1: the short name of .git on FAT and NTFS
    ("agentctl", ".agentctl.toml .agentctl/"),
)

_ASKS: tuple[tuple[str, str], ...] = (
    # Environment files: read on entering a folder, or by the next program that is started in it.
    ("direnv", ".envrc* .direnvrc .direnv/ .config/direnv/"),
    ("autoenv", ".autoenv* .in .out .env.leave"),
    ("smartcd", ".bash_enter .bash_leave .smartcd/"),
    ("a dotenv loader", ".env .env.*"),
    ("mise", ".mise*.toml mise.toml mise.local.toml .mise/ mise/config.toml .config/mise/ .config/mise.toml .rtx.toml"),
    ("asdf", ".tool-versions .asdfrc"),
    ("rvm", ".rvmrc .rbenv-vars"),
    ("flox", ".flox/"),
    # Shells.
    (
        "bash",
        ".bashrc .bash_profile .bash_login .bash_logout .bash_aliases .bash_functions .bash_completion .bashrc.d/",
    ),
    ("a login shell", ".profile .shrc .shinit .profile.d/ .pam_environment"),
    ("zsh", ".zshrc .zshenv .zprofile .zlogin .zlogout .zsh/ .oh-my-zsh/ .p10k.zsh .zimrc .zpreztorc .config/zsh/"),
    ("ksh", ".kshrc .mkshrc"),
    ("csh", ".cshrc .tcshrc .login .logout"),
    ("fish", ".config/fish/"),
    ("another shell", ".config/nushell/ .config/powershell/ .config/xonsh/ .config/elvish/ .elvish/ .xonshrc .nurc"),
    ("readline", ".inputrc"),
    (
        "a terminal",
        ".tmux.conf .config/tmux/ .screenrc .config/kitty/ .config/alacritty/ .config/wezterm/ .wezterm.lua",
    ),
    # Start of a session.
    ("the X session", ".xinitrc .xprofile .xsession .xsessionrc .xserverrc .xresources .xdefaults"),
    (
        "the desktop",
        ".config/autostart/ .config/i3/ .i3/ .config/sway/ .config/hypr/ .config/openbox/ .config/awesome/",
    ),
    ("the desktop", ".config/plasma-workspace/ .local/share/applications/ .local/share/dbus-1/"),
    ("systemd", ".config/systemd/ .config/environment.d/ .local/share/systemd/"),
    ("the command search path", ".local/bin/"),
    ("cron", ".crontab .anacrontab"),
    ("the mail system", ".forward .procmailrc"),
    # Editors.
    ("VS Code", ".vscode/ *.code-workspace .vscode-server/ .config/code/ .config/vscodium/"),
    ("a JetBrains IDE", ".idea/ .fleet/ *.iml *.ipr *.iws"),
    ("a dev container", ".devcontainer/ .devcontainer.json"),
    ("Gitpod", ".gitpod.yml .gitpod.dockerfile"),
    ("Replit", ".replit"),
    ("Visual Studio", ".vs/"),
    ("Eclipse", ".project .externaltoolbuilders/ .settings/ .classpath"),
    ("Zed", ".zed/ .config/zed/"),
    ("Helix", ".helix/ .config/helix/"),
    ("Sublime Text", "*.sublime-project *.sublime-workspace"),
    ("vim", ".vimrc .gvimrc .exrc .vim/ .nvimrc .nvim.lua .lvimrc .local.vimrc .config/nvim/ .projections.json"),
    ("YouCompleteMe", ".ycm_extra_conf.py"),
    ("Emacs", ".emacs .emacs.el .emacs.d/ .config/emacs/ .dir-locals.el .dir-locals-2.el .projectile"),
    ("Metals", ".bsp/"),
    # Hooks, and version control other than git's own folder.
    ("husky", ".husky/ .huskyrc* .config/husky/"),
    ("git", ".githooks/ .git-hooks/ .hooks/"),
    ("pre-commit", ".pre-commit-config.yaml .pre-commit-config.yml"),
    (
        "lefthook",
        "lefthook*.yml lefthook*.yaml lefthook*.toml lefthook*.json .lefthook*.yml .lefthook*.yaml .lefthook/",
    ),
    ("lefthook", ".lefthook*.toml .lefthook*.json .lefthookrc .lefthook-local/"),
    ("overcommit", ".overcommit.yml .local-overcommit.yml"),
    ("simple-git-hooks", ".simple-git-hooks.* simple-git-hooks.*"),
    ("CaptainHook", "captainhook.json"),
    ("git", ".gitconfig .config/git/ .git-credentials .gitcookies"),
    ("Mercurial", ".hg/ .hgrc"),  # like git's folder: its hgrc names programs
    ("Jujutsu", ".jj/ .config/jj/ .jjconfig.toml"),
    ("Sapling", ".sl/"),
    ("Bazaar", ".bzr/ .bazaar/"),
    ("darcs", "_darcs/ .darcs/"),
    # Package managers and build tools, where the file names programs, servers or other code for every command.
    ("npm", ".npmrc"),
    ("Yarn", ".yarnrc* .yarn/releases/ .yarn/plugins/ .yarn/sdks/"),
    ("pnpm", ".pnpmfile.*"),
    ("Cargo", ".cargo/"),
    ("pip", ".pip/ .config/pip/ pip.conf .pypirc .pydistutils.cfg"),
    ("conda", ".condarc condarc"),
    ("RubyGems", ".gemrc .bundle/config"),
    ("Maven", ".mvn/ .mavenrc .m2/settings.xml .m2/extensions.xml"),
    ("Gradle", ".gradle/init.d/ .gradle/init.gradle* .gradle/gradle.properties"),
    ("Ant", ".ant/ .antrc"),
    ("sbt", ".sbtopts .sbtrc .sbt/ .jvmopts"),
    ("Bazel", ".bazelrc .bazeliskrc user.bazelrc"),
    ("Buck", ".buckconfig .buckconfig.local"),
    ("Leiningen", ".lein/ .clojure/"),
    # Interpreters and debuggers.
    ("python", "sitecustomize.py usercustomize.py pyvenv.cfg *.pth *._pth .pythonrc .pythonrc.py .pythonstartup"),
    (
        "whoever uses the virtual environment",
        "venv/bin/ .venv/bin/ env/bin/ .env/bin/ virtualenv/bin/ .virtualenv/bin/",
    ),
    ("whoever uses the virtual environment", "venv/scripts/ .venv/scripts/ bin/activate bin/activate.* bin/activate_*"),
    ("whoever uses the virtual environment", "scripts/activate scripts/activate.*"),
    ("pdb", ".pdbrc .pdbrc.py"),
    ("IPython", ".ipython/ ipython_config.py .jupyter/ jupyter_config.py jupyter_*_config.py"),
    ("R", ".rprofile .renviron .rprofile.site"),
    ("Ruby", ".irbrc .pryrc .rdbgrc .byebugrc .rdebugrc"),
    ("GHCi", ".ghci .haskeline"),
    ("OCaml", ".ocamlinit .utoprc"),
    (
        "another interpreter",
        ".tclshrc .wishrc .sbclrc .guile .iex.exs .erlang .octaverc .gnuplot .gprc .perldb .perl5db",
    ),
    ("another interpreter", ".julia/config/ .ammonite/ .node_repl .bpython/ .config/bpython/"),
    ("gdb", ".gdbinit* .gdbearlyinit .config/gdb/"),
    ("lldb", ".lldbinit*"),
    ("psql", ".psqlrc* .pgpass .pg_service.conf"),
    ("sqlite3", ".sqliterc"),
    ("mysql", ".my.cnf .mylogin.cnf"),
    ("MongoDB's shell", ".mongorc.js .mongoshrc.js"),
    # Clients with credentials or servers in their settings.
    ("wget", ".wgetrc"),
    ("curl", ".curlrc"),
    ("a network client", ".netrc _netrc .config/gcloud/ .boto .s3cfg .terraformrc"),
    ("ssh", ".ssh/ .rhosts .shosts"),
    ("GnuPG", ".gnupg/"),
    ("a cloud client", ".aws/ .azure/ .kube/ .config/gh/ .config/containers/"),
    ("docker", ".docker/config.json .docker/cli-plugins/"),
    # Other agents: they start servers, run hooks and take instructions from these.
    ("an MCP client", ".mcp.json .mcp/"),
    ("Claude Code", ".claude/ .claude.json"),
    ("Codex", ".codex/"),
    ("Gemini CLI", ".gemini/"),
    ("Cursor", ".cursor/ .cursorrules"),
    ("Windsurf", ".windsurf/ .windsurfrules .codeium/"),
    ("Continue", ".continue/ .continuerules .continuerc.json"),
    ("aider", ".aider.conf.* .aider.model.*"),
    ("goose", ".goose/ .goosehints"),
    ("Roo Code", ".roo/ .roomodes .roorules*"),
    ("Cline", ".cline/ .clinerules/"),
    ("Kiro", ".kiro/"),
    ("Kilo Code", ".kilocode/ .kilocodemodes"),
    (
        "GitHub Copilot",
        ".copilot/ .github/copilot-instructions.md .github/instructions/ .github/prompts/ .github/hooks/",
    ),
    ("GitHub Copilot", ".github/chatmodes/ .github/agents/ .github/skills/ .github/copilot/"),
    ("OpenCode", ".opencode/ opencode.json opencode.jsonc"),
    ("Crush", ".crush/ .crush.json crush.json"),
    ("OpenHands", ".openhands/ .openhands_instructions"),
    ("Amazon Q", ".amazonq/"),
    ("another agent", ".agent/ .agents/ .amp/ .qwen/ .trae/ .junie/ .factory/ .augment/ .augment-guidelines .qodo/"),
    ("another agent", ".tabnine/ .cody/ .zencoder/ .void/ .rules .gptme.toml gptme.toml .plandex/ .tabby/"),
)

_REPORTED: tuple[tuple[str, str], ...] = (
    # Continuous integration and deployment.
    ("GitHub Actions", ".github/workflows/ .github/actions/ action.yml action.yaml"),
    ("Dependabot", ".github/dependabot.yml .github/dependabot.yaml"),
    ("Gitea Actions", ".gitea/workflows/ .forgejo/workflows/"),
    ("GitLab CI", ".gitlab-ci.yml .gitlab-ci.yaml .gitlab/"),
    ("CircleCI", ".circleci/"),
    ("Travis CI", ".travis.yml"),
    ("Azure Pipelines", "azure-pipelines*.yml azure-pipelines*.yaml .azure-pipelines/ .azuredevops/ .vsts-ci.yml"),
    ("Jenkins", "jenkinsfile*"),
    ("Bitbucket Pipelines", "bitbucket-pipelines.yml"),
    ("Drone", ".drone.yml .drone.yaml .drone.star .drone.jsonnet"),
    ("Woodpecker", ".woodpecker* .woodpecker/"),
    ("Buildkite", ".buildkite/"),
    ("AppVeyor", "appveyor.yml .appveyor.yml"),
    ("Cirrus CI", ".cirrus.yml .cirrus.star"),
    (
        "a CI service",
        ".ci/ .semaphore/ .tekton/ .harness/ .kokoro/ .builds/ .build.yml .zuul.yaml .zuul.d/ wercker.yml",
    ),
    ("a CI service", "cloudbuild.yaml cloudbuild.yml buildspec.yml codemagic.yaml .packit.yaml .scrutinizer.yml"),
    (
        "a release service",
        ".goreleaser.y* .releaserc* release.config.* .readthedocs.y* netlify.toml vercel.json fly.toml",
    ),
    ("Renovate", "renovate.json* .renovaterc*"),
    # Builds and tasks.
    ("make", "makefile gnumakefile *.mk makefile.am makefile.in"),
    ("just", "justfile .justfile *.just"),
    ("Task", "taskfile.yml taskfile.yaml taskfile.dist.yml taskfile.dist.yaml"),
    ("CMake", "cmakelists.txt cmakepresets.json cmakeuserpresets.json *.cmake"),
    ("configure", "configure configure.ac configure.in autogen.sh"),
    ("Meson", "meson.build"),
    ("SCons", "sconstruct sconscript"),
    ("Bazel", "build.bazel module.bazel workspace.bazel *.bzl"),
    ("Docker", "dockerfile* *.dockerfile containerfile* docker-compose*.yml docker-compose*.yaml docker-bake.*"),
    ("Docker", "compose*.yml compose*.yaml"),
    ("Vagrant", "vagrantfile"),
    ("Nix", "flake.nix default.nix shell.nix devenv.nix"),
    ("a process manager", "procfile procfile.* tiltfile earthfile brewfile"),
    # Languages.
    ("npm", "package.json"),
    ("pnpm", "pnpm-workspace.yaml"),
    ("Yarn", ".pnp.cjs .pnp.loader.mjs"),
    (
        "a tool of Node",
        "gruntfile.* gulpfile.* vite.config.* vitest.config.* webpack.config.* rollup.config.* jest.config.*",
    ),
    (
        "a tool of Node",
        "babel.config.* .babelrc* eslint.config.* .eslintrc* prettier.config.* .prettierrc* postcss.config.*",
    ),
    (
        "a tool of Node",
        "tailwind.config.* next.config.* nuxt.config.* svelte.config.* astro.config.* karma.conf.* .mocharc*",
    ),
    ("a tool of Node", "playwright.config.* cypress.config.* commitlint.config.* .commitlintrc* lint-staged.config.*"),
    ("a tool of Node", ".lintstagedrc* nx.json turbo.json lerna.json metro.config.* stylelint.config.* .stylelintrc*"),
    ("deno", "deno.json deno.jsonc"),
    ("bun", "bunfig.toml"),
    ("pytest", "conftest.py pytest.ini .pytest.ini"),
    ("a build tool of Python", "pyproject.toml setup.py setup.cfg hatch_build.py"),
    ("tox", "tox.ini"),
    ("nox", "noxfile.py"),
    ("a task runner of Python", "tasks.py fabfile.py dodo.py pavement.py wscript snakefile"),
    ("a checker of Python", "mypy.ini .mypy.ini pylintrc .pylintrc .flake8 .coveragerc .gitlint"),
    ("Cargo", "cargo.toml build.rs rust-toolchain rust-toolchain.toml"),
    ("Gradle", "build.gradle* settings.gradle* gradle.properties gradlew gradlew.bat gradle-wrapper.properties"),
    ("Maven", "pom.xml mvnw mvnw.cmd"),
    ("sbt", "build.sbt"),
    ("Ruby", "rakefile gemfile guardfile capfile fastfile podfile dangerfile *.gemspec .rspec .rubocop.yml"),
    ("Composer", "composer.json"),
    ("PHP", ".user.ini .htaccess php.ini"),
    ("a build tool of Perl", "makefile.pl build.pl"),
    ("MSBuild", "*.csproj *.fsproj *.vbproj *.vcxproj directory.build.props directory.build.targets nuget.config"),
    ("Mix", "mix.exs"),
    ("a build tool of Haskell", "stack.yaml *.cabal hie.yaml"),
    ("Go", "magefile.go .golangci.y*"),
    ("Swift", "package.swift"),
    ("Xcode", "*.xcodeproj/ *.xcworkspace/"),
    # Allowed on purpose: these choose among installed versions, or tell git which files are tracked.
    ("a version manager", ".nvmrc .node-version .python-version .ruby-version .java-version .go-version .sdkmanrc"),
    ("git", ".gitmodules .gitattributes"),  # neither names a program; git's configuration does
    # Text that agents take as instructions, and that is also documentation of the project.
    ("another agent", "agents.md claude.md claude.local.md gemini.md agent.md"),
)

#: Names like those above that no program reads.
_READ_BY_NOBODY = frozenset({".env.example", ".env.sample", ".env.template"})

#: Folders of installed packages. They contain thousands of ``reported`` files, written by an installer.
_PACKAGE_FOLDERS = frozenset(
    {"node_modules", "bower_components", "jspm_packages", "site-packages", "dist-packages", "vendor", "__pypackages__"}
    | {".tox", ".nox", ".venv", "venv", ".yarn", ".pnpm-store", ".eggs"}
)

#: Invisible characters outside the category Cf; some file systems ignore some of them, and readers see none.
_INVISIBLE = frozenset(
    "\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f" + "".join(map(chr, range(0xFE00, 0xFE10)))
)


class _Row(NamedTuple):
    """One pattern, folded. ``above`` are the folders in it, ``name`` is its last part."""

    file: AutorunFile
    above: tuple[str, ...]
    name: str
    below: bool


def autorun_rows() -> Iterator[tuple[AutorunPolicy, str, str]]:
    """Yield every policy, program and pattern, the most severe policy first."""
    for policy, table in _TABLES:
        for program, patterns in table:
            for pattern in patterns.split():
                yield policy, program, pattern


def find_autorun(path: str, *, also: Collection[str] = ()) -> AutorunFile | None:
    """Return the program that runs or obeys the file or folder at ``path``, or files in it, or None.

    ``path`` is relative to the workspace, with ``/`` between its parts. ``also`` are further ``asks`` paths, with
    everything below them, for example from git's configuration or ``sys.path``; the values of a mapping are the
    programs. If several rows match, the most severe policy counts.
    """
    parts = _parts(path)
    found = next(_matches(parts), None)
    if found is not None and found.policy != "reported":
        return found
    for other in also:
        named = _parts(other)
        if named and parts[: len(named)] == named:
            return AutorunFile(
                "asks", also[other] if isinstance(also, Mapping) else "a program that is configured to use it"
            )
    return found


def is_autorun_name(name: str) -> bool:
    """Return whether a row could match an entry of this name, a cheap check of one part of a path.

    Entries in an obeyed folder need no such name: call ``find_autorun`` for the folder first.
    """
    folded = _fold(name)
    if folded in _BY_NAME:
        return True
    return (folded[:4] in _STARTS or folded[-3:] in _ENDS) and next(_globs(folded), None) is not None


def _parts(path: str) -> tuple[str, ...]:
    return tuple(_fold(part) for part in path.split("/") if part not in ("", "."))


def _fold(name: str) -> str:
    """Fold a name for comparison, so that names are equal if any file system treats them as equal."""
    if not name.isascii():
        from unicodedata import category, normalize  # noqa: PLC0415 - hardly any name needs it

        seen = "".join(char for char in normalize("NFKC", name) if category(char) != "Cf" and char not in _INVISIBLE)
        name = normalize("NFKC", seen.casefold())
    return name.lower().rstrip(". ")


def _matches(parts: tuple[str, ...]) -> Iterator[AutorunFile]:
    """Yield the matching rows of a path, the most severe policy first."""
    matching = [row for place in range(len(parts)) for row in _rows_at(parts, place)]
    installed = not _PACKAGE_FOLDERS.isdisjoint(parts[:-1])
    for policy, _ in _TABLES:
        if policy != "reported" or not installed:
            yield from (row.file for row in matching if row.file.policy == policy)


def _rows_at(parts: tuple[str, ...], place: int) -> Iterator[_Row]:
    """Yield the rows whose last part equals the part of the path at ``place``."""
    name, last = parts[place], place == len(parts) - 1
    if name in _READ_BY_NOBODY and last:
        return
    for row in (*_BY_NAME.get(name, ()), *_globs(name)):
        first = place - len(row.above)
        if (last or row.below) and first >= 0 and parts[first:place] == row.above:
            yield row


def _globs(name: str) -> Iterator[_Row]:
    """Yield the rows whose last part contains a ``*`` and matches."""
    for start, end, row in _GLOBS:
        if name.startswith(start) and name.endswith(end) and len(name) >= len(start) + len(end):
            yield row


def _row(policy: AutorunPolicy, program: str, pattern: str) -> _Row:
    *above, name = pattern.removesuffix("/").split("/")
    return _Row(AutorunFile(policy, program), tuple(above), name, pattern.endswith("/"))


_TABLES: tuple[tuple[AutorunPolicy, tuple[tuple[str, str], ...]], ...] = (
    ("never", _NEVER),
    ("asks", _ASKS),
    ("reported", _REPORTED),
)
_ROWS = tuple(_row(*row) for row in autorun_rows())
_BY_NAME: dict[str, list[_Row]] = {}
for _one in _ROWS:
    if "*" not in _one.name:
        _BY_NAME.setdefault(_one.name, []).append(_one)
_GLOBS = tuple((one.name.partition("*")[0], one.name.rpartition("*")[2], one) for one in _ROWS if "*" in one.name)
_STARTS = frozenset(start[:4] for start, _, _ in _GLOBS if start)  # no pattern is shorter, so most names need no loop
_ENDS = frozenset(end[-3:] for start, end, _ in _GLOBS if not start)
