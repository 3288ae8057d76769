"""Paths of every policy for files that other programs run or obey: never written, asked for, reported."""

from __future__ import annotations

NEVER = """
.git .git/config .git/hooks/pre-commit sub/.git sub/.git/HEAD .GIT .Git/config .git./config .git/ git~1/config
.agentctl.toml sub/.agentctl.toml .AgentCtl.TOML .agentctl/x
"""
ASKS = """
.env .env.local .env.production .envrc .envrc.local .bashrc .bash_profile .bash_login .bash_logout .bash_aliases
.profile .zshrc .zshenv .zprofile .zlogin .zlogout .kshrc .cshrc .tcshrc .login .inputrc .config/fish/config.fish
.config/fish/conf.d/x.fish .vscode .vscode/tasks.json .idea/workspace.xml .devcontainer/devcontainer.json
.devcontainer.json .husky/pre-commit .githooks/pre-push .pre-commit-config.yaml .npmrc .yarnrc .yarnrc.yml
.pnpmfile.cjs .cargo/config.toml .mise.toml mise.toml .mise/config.toml .tool-versions .mcp.json .vimrc .exrc .nvimrc
.lvimrc .emacs .dir-locals.el .gdbinit .lldbinit .pythonrc .Rprofile .irbrc .pryrc .psqlrc .sqliterc .wgetrc .curlrc
.netrc .ssh/config .gnupg/gpg.conf .gitconfig lefthook.yml .lefthook.yml .overcommit.yml .bundle/config .gemrc
.mvn/extensions.xml .mvn/jvm.config .mvn/maven.config .gradle/init.d/x.gradle .bazelrc .buckconfig .sbtopts .jvmopts
.direnvrc .autoenv .in .asdfrc sitecustomize.py usercustomize.py .claude/settings.json .codex/config.toml
.gemini/settings.json .cursor/mcp.json .cursorrules .windsurf/x .continue/config.json .aider.conf.yml .goose/x .roo/x
.kiro/hooks/x .github/copilot-instructions.md venv/bin/python .venv/bin/pip env/bin/activate tools/bin/activate.fish
pyvenv.cfg venv/pyvenv.cfg x.pth lib/python3.11/site-packages/x.pth .config/systemd/user/x.service .local/bin/git
.config/autostart/x.desktop .hg/hgrc .jj/repo/config.toml .config/git/config .ghci x.code-workspace
"""
REPORTED = """
.github/workflows/ci.yml .github/actions/x/action.yml .gitlab-ci.yml .circleci/config.yml .travis.yml
azure-pipelines.yml Jenkinsfile bitbucket-pipelines.yml .drone.yml .woodpecker.yml .woodpecker/x.yml
.buildkite/pipeline.yml .ci/run.sh Makefile makefile GNUmakefile rules.mk justfile Taskfile.yml package.json
conftest.py tests/conftest.py pyproject.toml setup.py setup.cfg tox.ini noxfile.py Dockerfile Dockerfile.dev
Containerfile docker-compose.yml docker-compose.override.yml compose.yaml compose.prod.yaml build.rs build.gradle
build.gradle.kts pom.xml CMakeLists.txt configure Rakefile Gemfile Gruntfile.js gulpfile.js vite.config.ts
webpack.config.js jest.config.mjs .eslintrc.js eslint.config.js .babelrc.js AGENTS.md CLAUDE.md .gitmodules
"""
#: Files that no program runs or obeys.
ORDINARY = """
README.md src/main.py .gitignore .dockerignore .editorconfig .coverage .pytest_cache/CACHEDIR.TAG .mypy_cache/x.json
.ruff_cache/x .github .github/ISSUE_TEMPLATE/x.md .config/other .env.example env/lib/x.py bin/tool workflows/x.yml
git/config x.gitx .gitx .environment build/x.o configure/x.py conftest.py/x mypth .venv .yarn/cache/x.zip
"""


def file_paths(listed: str) -> list[str]:
    """Return those of the paths that can be files beside each other; folders among them get a file."""
    return [
        f"{path.rstrip('/')}/x" if path in (".vscode", ".git", "sub/.git", ".GIT") else path for path in listed.split()
    ]
