"""Lookups that read, count and search text in files."""

from __future__ import annotations

from agentctl.providers.builtin.lookup import Lookup

TEXT_LOOKUPS = (
    Lookup(
        "read_file",
        "what is in a file",
        "cat {path}",
        """
        full {file} | everything in {file} | {path} content | {path} file | {file} file |
        what does the file {path} contain | what does {file} say | what has {file} got in it | the text in {file} |
        what is inside {path} | contents {path} | all lines of {file} | {path} | {file} | file {path} | file {file} |
        content of {path} | content of {file} | contents of the file {file} | {file} content | what is in {file} |
        what is in the file {path} | what is inside {file} | what does {file} contain | what does {path} say |
        read {file} | open {path} | read {path} | read the file {path} | open {file} | cat {file} |
        the whole of {file} | whole file {file} | full content of {file} | all of {file} | text of {file}
        """,
        slots={"path": "path", "file": "path"},
        needs=("path",),
        commands="cat {path} | cat {file} | less {path} | less {file} | more {file} | more {path}",
    ),
    Lookup(
        "read_file",
        "the first lines of a file",
        "head -n {first} {path}",
        """
        the first {number} lines of {path} | {number} lines from the top of {file} |
        {number} lines from the beginning of {path} | only the first {number} lines of {file} |
        {file} top {number} lines | top {number} lines of {path} | first {number} entries of {file} |
        first {number} rows of {file} | first {number} lines of {file} | first {number} lines of {path} |
        first {number} lines from {file} | first {number} lines in the file {path} |
        first {number} lines of the file {file} | {file} first {number} lines | {path} first {number} lines |
        top {number} lines of {file} | head {number} lines of {file} | {number} first lines of {file}
        """,
        slots={"path": "path", "file": "path", "number": "first"},
        needs=(
            "path",
            "first",
        ),
        must=(
            "line/entry/row",
            "first/head/top/beginning",
        ),
        commands="""
        head -n {number} {file} | head -n {number} {path} | head -{number} {file} | head -{number} {path}
        """,
    ),
    Lookup(
        "read_file",
        "the beginning of a file",
        "head {path}",
        """
        how does {file} begin | top of {path} | first line of {file} | first few lines of {file} |
        beginning of {path} | head of {file} | head of {path} | head {file} | beginning of {file} |
        beginning of the file {path} | first lines of {file} | first few lines of {path} | top of {file}
        """,
        fixed={"first": 10},
        slots={"path": "path", "file": "path"},
        needs=("path",),
        must=("first/head/top/beginning/begin",),
        commands="head {file} | head {path}",
    ),
    Lookup(
        "read_file",
        "the last lines of a file",
        "tail -n {last} {path}",
        """
        final {number} lines of {path} | {number} lines from the end of {file} |
        {number} lines from the bottom of {path} | only the last {number} lines of {path} |
        {number} latest lines of {path} | {number} newest lines of {file} | last {number} lines of log {path} |
        last {number} rows of {file} | latest {number} lines of {file} | most recent {number} lines of {path} |
        {number} most recent lines in {path} | {number} last lines from {path} | tail {path} {number} lines |
        last {number} lines of {file} | last {number} lines of {path} | last {number} lines from {file} |
        last {number} lines in the file {path} | last {number} lines of the file {file} |
        last {number} log lines in {path} | last {number} entries of {path} | last {number} entries in {file} |
        {file} last {number} lines | {path} last {number} lines | bottom {number} lines of {file} |
        tail {number} lines of {file} | final {number} lines of {file} | {number} last lines of {file} |
        {number} most recent lines of {file}
        """,
        slots={"path": "path", "file": "path", "number": "last"},
        needs=(
            "path",
            "last",
        ),
        must=(
            "line/entry/log/row",
            "last/tail/bottom/final/end/latest/newest/recent",
        ),
        commands="""
        tail -n {number} {file} | tail -n {number} {path} | tail -{number} {file} | tail -{number} {path}
        """,
    ),
    Lookup(
        "read_file",
        "the end of a file",
        "tail {path}",
        """
        end of {path} | last few lines of {file} | last lines of {path} | bottom of {path} |
        last line of {file} | last entries of {path} | latest lines of {path} | latest entries in {path} |
        newest lines of {file} | how does {file} end | most recent lines of {path} |
        most recent entries in {path} | tail of {file} | tail of {path} | tail {file} | tail {path} |
        end of {file} | end of the file {path} | last lines of {file} | last few lines of {path} |
        bottom of {file}
        """,
        fixed={"last": 10},
        slots={"path": "path", "file": "path"},
        needs=("path",),
        must=("tail/end/last/bottom/latest/newest/recent",),
        commands="tail {file} | tail {path}",
    ),
    Lookup(
        "read_file",
        "how many lines a file has",
        "wc -l {path}",
        """
        line count for {file} | line count for {path} | count of lines in {file} |
        count how many lines {file} has | how many lines {file} has | how many lines {path} |
        how many lines long is {file} | number of lines in the file {path} | length of {file} in lines |
        how many rows does {file} have | how many entries are in {file} | how long is {path} |
        lines in {file} count | how many lines does the file {file} have | how many lines does {path} have |
        how many lines are in the file {file} | {path} line count | how big is {file} in lines |
        how many lines does {file} have | how many lines are in {path} | how many lines are there in {file} |
        how many lines has {file} | how many lines has the file {path} | how many lines of code are in {file} |
        count lines of {file} | count the lines in {path} | count lines in the file {file} |
        line count of {path} | line count {file} | number of lines in {file} | number of lines of {path} |
        how long is {file} | how long is the file {path} | {file} line count
        """,
        fixed={"count_lines": True},
        slots={"path": "path", "file": "path"},
        needs=("path",),
        must=("line/long/row/entry", "line/long/many"),
        commands="wc -l {file} | wc -l {path}",
    ),
    Lookup(
        "search_files",
        "where a text occurs in files",
        "grep -rnF[ --include={pattern}] {text} {path|.}",
        """
        is {text} in {path} | is {text} anywhere in {path} | lines with {text} in {path} | lines with {text} in {file} |
        lines containing {text} in {path} | lines in {path} containing {text} | lines in {path} with {text} |
        every line with {text} in {file} | all lines with {text} in {path} | which lines of {file} contain {text} |
        which lines in {path} contain {text} | {text} in {file} | {text} in {path} | look for {text} in {path} |
        look for {text} in {file} | look for {text} in {name} | look for {text} in all {pattern} files |
        search for {text} in all files | search for the word {text} | search for the string {text} in {path} |
        search for the text {text} in {file} | all occurrences of {text} in {path} |
        every occurrence of {text} in {file} | find every occurrence of {text} | find {text} in {name} |
        find lines with {text} in {file} | find all lines containing {text} in {path} | find files containing {text} |
        find files with {text} in them | find files that contain {text} in {path} | files in {path} containing {text} |
        files in {path} that contain {text} | files under {path} containing {text} | which file has {text} |
        which files have {text} in {path} | does any file contain {text} | does any file in {path} contain {text} |
        where in {path} is {text} | where in {path} is {text} used | where does {text} occur in {path} |
        where is {text} defined in {path} | where is {text} mentioned in {path} | where is {text} used in the code |
        where do we use {text} | which {pattern} files use {text} | {pattern} files that contain {text} |
        {pattern} files in {path} containing {text} | search for {text} in {pattern} |
        search for {text} in {pattern} files in {path} | where is {text} mentioned in {pattern} files |
        where is {text} used in {pattern} files | which {pattern} files in {path} contain {text} | search for {text} |
        search {text} | search files for {text} | search the text {text} | find {text} |
        find the word {text} in the source code | find the word {text} in the source | find {text} in the code |
        find the word {text} in the code | find {text} in the source code | search the source code for {text} |
        search for {text} in the source code | search for {text} in the code | search the code for {text} |
        search the source for {text} | look for {text} in the source code | look for {text} in the code |
        where is {text} used in the source code | where in the code is {text} | grep {text} in the source code |
        where is {text} in the source code | where is {text} defined in the code | find the text {text} |
        find the word {text} | find the string {text} | find {text} in files | find {text} in the files |
        find {text} in all files | find all occurrences of {text} | occurrences of {text} | look for {text} |
        grep {text} | grep for {text} | where is {text} | where is {text} used | where is {text} mentioned |
        where is {text} defined | where does {text} occur | where is the word {text} found | where does {text} appear |
        which files contain {text} | which files contain the word {text} | which file contains the text {text} |
        which files have {text} in them | files containing {text} | files containing the string {text} |
        files with {text} in them | all files that contain {text} | lines containing {text} | lines with {text} |
        lines that contain {text} | all lines containing {text} | search for {text} in {path} |
        search {path} for {text} | search {file} for {text} | search for {text} in {file} |
        search for {text} in the file {file} | search for {text} in {name} | search for {text} in the {name} folder |
        search {name} for {text} | find {text} in {path} | find {text} in {file} | find the word {text} in {name} |
        lines containing {text} in {file} | lines in {file} containing {text} | lines of {file} with {text} |
        does {file} contain {text} | does {path} contain {text} | is {text} in {file} | where in {file} is {text} |
        where is {text} used in {path} | where is {text} mentioned in {file} | which files in {path} contain {text} |
        which files under {path} contain {text} | which {pattern} files contain {text} |
        {pattern} files containing {text} | search {pattern} for {text} | search {pattern} files for {text} |
        search for {text} in {pattern} files | find {text} in all {pattern} files | where is {text} used in {pattern} |
        find {text} in {pattern} files under {path} | grep {text} in {name} | grep {text} in {file} |
        grep {text} in {path}
        """,
        slots={"text": "text", "pattern": "pattern", "file": "path", "path": "path", "name": "path"},
        needs=("text",),
        must=("search/find/grep/look/contain/where/line/is/file/{file}/{path}/occur/use/have/has",),
        commands="""
        grep {text} | grep -r {text} | grep -rn {text} | grep -R {text} | grep -r {text} . | grep -rn {text} . |
        grep {text} {where} | grep -n {text} {where} | grep -r {text} {where} | grep -rn {text} {where} |
        grep -nr {text} {where} | grep -R {text} {where} | rg {text} | rg {text} {where}
        """,
    ),
    Lookup(
        "search_files",
        "where a text occurs, ignoring case",
        "grep -rniF[ --include={pattern}] {text} {path|.}",
        """
        search {name} for {text} ignoring case | search {path} for {text} ignoring case |
        search {file} for {text} ignoring case | search {pattern} files for {text} ignoring case |
        grep {text} in {path} ignoring case | search for {text} in {name} ignoring case |
        find {text} in {path} ignoring case | case insensitive search for {text} in {file} |
        search for {text} in {pattern} files ignoring case | look for {text} in {path} case insensitive |
        is {text} in {file} ignoring case | search {path} case insensitive for {text} |
        search for {text} ignoring case | search for {text} case insensitive |
        search for {text} in {path} ignoring case | search for {text} in {file} case insensitive |
        search for {text} in {file} upper or lower case | search case insensitive for {text} |
        search {file} for {text} ignore case | case insensitive search for {text} in {path} |
        find {text} in {file} ignoring case | find {text} in {name} ignoring the case |
        find {text} regardless of case | look for {text} in {file} case insensitive |
        grep {text} in {file} ignoring case | which files contain {text} ignoring case |
        which {pattern} files contain {text} ignoring case | lines containing {text} in {file} ignoring case
        """,
        fixed={"ignore_case": True},
        slots={"text": "text", "pattern": "pattern", "file": "path", "path": "path", "name": "path"},
        needs=("text",),
        must=("case",),
        commands="""
        grep -i {text} {where} | grep -ri {text} | grep -ri {text} {where} | grep -rni {text} {where}
        """,
    ),
    Lookup(
        "git_status",
        "the state of a git work tree",
        "git [-C {path} ]status",
        """
        what changed in this working tree | what changed in the working tree | what is changed in the work tree |
        what changed in this work tree | changes in the working tree | changes in the work tree |
        changed files in the working tree | which files changed in the work tree | is the working tree dirty |
        which files changed in the working tree | what has changed in the working tree | working tree status |
        is the working tree clean | state of the working tree | status of the working tree | working tree changes |
        are there changes in the working tree | what changed in this repo | git status of this folder |
        are there any changes in the repo | any changes in the repo | changes in this repo | are there changes in git |
        what is the git status here | git status here | what changed in the repo | what is changed in git |
        files changed in git | changed files in git | which files are changed in git | which files are staged |
        which files are untracked | anything uncommitted | is anything uncommitted | is there anything uncommitted |
        is there something uncommitted in {path} | uncommitted work | uncommitted files |
        untracked and changed files in git | git work tree status | state of the git tree |
        on which branch is the repo | what branch is this | which branch is active | git branch name |
        current git branch | repo status | is the git work tree clean | local changes in git | git status |
        git changes | git state | status of git | status of this git repository | status of the repository |
        status of the repo in {path} | git status of {path} | git status in {path} | what changed in git |
        what has changed in this repository | uncommitted changes | are there uncommitted changes |
        do I have any uncommitted changes | do I have uncommitted files | unstaged changes | untracked files |
        staged files | is the repository clean | is the git repo clean | is the work tree clean | is my git tree dirty |
        is the repo dirty | which branch am I on | which git branch is this | current branch | git branch |
        which branch is checked out
        """,
        slots={"path": "path"},
        must=(
            "git/repo/branch/tree/uncommitted/unstaged/untracked/staged",
            "status/changed/changes/change/clean/dirty/branch/uncommitted/staged/untracked/unstaged/anything/local/work",
        ),
        commands="git status | git status -s | git status --short | git -C {path} status",
    ),
)
