"""Lookups that find files and folders."""

from __future__ import annotations

from agentctl.providers.builtin.lookup import Lookup

FILE_LOOKUPS = (
    Lookup(
        "list_files",
        "what is in a folder",
        "ls -A[ {path}]",
        """
        everything in this folder | everything in {path} | everything in the current folder |
        what is in the {path} folder | what is in the folder {path} | content of {path} folder |
        content of the folder {path} | files in the {path} folder | all files here | what files are there |
        what files do I have here | folder list | files in current folder | current folder |
        what does the folder {path} contain | what does the {name} folder contain |
        which files does the folder {path} contain | what do we have in the {name} folder | {path} folder |
        which files and folders are here | which files are inside {path} | local files |
        names of the files in {path} | all files and folders | files | all files | files here |
        files in this folder | files in the current folder | files and folders | which files are here |
        which files are in this folder | what is in this folder | what is in the current folder |
        contents of this folder | files in {path} | all files in {path} | which files are in {path} |
        which files are there in {path} | files in the folder {path} | files in {name} |
        files in the {name} folder | files in the folder {name} | what is in the {name} folder |
        what is inside the folder {name} | contents of the folder {path} | contents of the {name} folder |
        contents of folder {name} | files and folders in {path} | folder {path} | files under {path}
        """,
        fixed={"kind": "any", "recursive": False},
        slots={"path": "path", "name": "path"},
        must=("file/folder/folders/{path}/everything",),
        commands="""
        ls | ls -l | ls -la | ls -al | ls -a | ls -lah | ls {path} | ls -l {path} | ls -la {path} | ls {name} |
        dir
        """,
    ),
    Lookup(
        "list_files",
        "the folders in a folder",
        "find {path|.} -mindepth 1 -maxdepth 1 -type d",
        """
        what folders are here | what folders are in {path} | which folders does {path} have | list of folders |
        subfolder | subfolders here | folders in this folder | folders in the current folder |
        which folders are in this folder | which subfolders are there | folders inside {path} |
        folders in {name} | folders | all folders | folders here | which folders are here |
        which folders are there | subfolders | subfolders of {path} | folders in {path} |
        all folders in {path} | which folders are in {path} | folders under {path} |
        folders in the folder {name} | subfolders of {name}
        """,
        fixed={"kind": "folder", "recursive": False},
        slots={"path": "path", "name": "path"},
        must=("folders/subfolder",),
        commands="ls -d */",
    ),
    Lookup(
        "list_files",
        "files by their ending or pattern, in all folders below",
        "find {path|.} -type f -name {pattern}",
        """
        are there {pattern} files here | are there {pattern} files in {path} |
        are there any {pattern} files in {path} | are there {pattern} files | do we have {pattern} files |
        do I have any {pattern} files | where are {pattern} | where are {pattern} files |
        files with the {pattern} end | files whose name ends in {pattern} | files whose names match {pattern} |
        files with a {pattern} end | {pattern} here | {pattern} files below {path} |
        {pattern} files inside {path} | every {pattern} file | {pattern} files in the {path} folder |
        files ending in {pattern} in {path} | files with {pattern} end in {path} | all {pattern} under {path} |
        find {pattern} in the {name} folder | names of all {pattern} files | list of {pattern} files |
        {pattern} files in the current folder | what {pattern} files are in {path} |
        find files matching {pattern} in {path} | find files like {pattern} | {pattern} files anywhere |
        {pattern} | {pattern} files | all {pattern} files | find {pattern} | find all {pattern} |
        find {pattern} files | which {pattern} files are there | which {pattern} files are here |
        are there any {pattern} files | any {pattern} files here | where are the {pattern} files |
        files matching {pattern} | files named {pattern} | files ending in {pattern} |
        files ending with {pattern} | files that end in {pattern} | files with the ending {pattern} |
        files with extension {pattern} | files of type {pattern} | files like {pattern} |
        {pattern} files in this folder | {pattern} files in {path} | {pattern} in {path} |
        all {pattern} files in {path} | find {pattern} files in {path} | find {pattern} files under {path} |
        {pattern} under {path} | {pattern} below {path} | which {pattern} files are in {path} |
        files matching {pattern} in {path} | {pattern} files in {name} | {pattern} files under {name} |
        {pattern} files in the {name} folder | {pattern} files in the folder {name} | {pattern} in {name}
        """,
        slots={"pattern": "pattern", "path": "path", "name": "path"},
        needs=("pattern",),
        commands="""
        find -name {pattern} | find . -name {pattern} | find . -type f -name {pattern} |
        find {path} -name {pattern} | find {path} -type f -name {pattern} | ls {pattern}
        """,
    ),
    Lookup(
        "list_files",
        "where a file is",
        "find {path|.} -type f -name {pattern}",
        """
        is there a {file} somewhere | is there a {file} here | is there a file called {file} somewhere |
        is there a {file} anywhere | where do I find {file} | where is my {file} | where are the {file} files |
        in which folder is {file} | which folder has {file} | which folder contains {file} | which folder is {file} in |
        do we have a {file} | do I have a {file} here | does {file} exist in {path} | is {file} here |
        is {file} in {path} | is there any {file} in {path} | locate the file {file} | find every {file} |
        find all {file} | find all {file} files | find my {file} | search for the file {file} |
        look for the file {file} | look for a file named {file} | look for {file} | search for a file called {file} |
        files with the name {file} | file named {file} | file called {file} | where is {file} |
        where is the file {file} | where can I find {file} | where does {file} live | find {file} |
        find the file {file} | find a file named {file} | find files called {file} | find all files named {file} |
        files named {file} | files called {file} | all files named {file} | is there a file called {file} |
        is there a {file} | does {file} exist | does the file {file} exist | locate {file} | location of {file} |
        path of {file} | find {file} in {path} | find {file} under {path} | find a file named {file} in {path} |
        where is {file} in {path} | is there a {file} in {path} | where is the file {name} | find the file {name} |
        find a file named {name} | find files named {name} | files called {name} | is there a file named {name} |
        find the file {name} in {path} | locate the file {name}
        """,
        slots={"file": "pattern", "name": "pattern", "path": "path"},
        needs=("pattern",),
        must=(
            "where/find/locate/location/exist/name/folder/path/search/look/is/any/somewhere/have/every",
            "file/{file}",
        ),
        commands="find . -name {file} | find -name {file} | find {path} -name {file} | locate {file}",
    ),
    Lookup(
        "list_files",
        "the biggest files",
        "find {path|.} -type f[ -name {pattern}] -printf '%s %p\\n' | sort -rn[ | head -n {limit}]",
        """
        biggest {number} files in {path} | biggest {number} files under {path} | top {number} files in {path} by size |
        {number} biggest files under {path} | {number} biggest files of {path} | files that use the most space |
        files that use the most disk space | what files use the most space | big files | big files in {path} |
        biggest files in the {path} folder | files ordered by size | files by size in {path} |
        the {number} files using the most space in {path} | which is the biggest file in {path} |
        which {pattern} file is the biggest | which {pattern} files are biggest | top biggest files |
        files sorted by size in {path} | biggest {pattern} files under {path} | biggest {pattern} in {path} |
        {number} biggest {pattern} files in {path} | biggest files | biggest file | biggest files here |
        biggest files in this folder | which files are the biggest | what are the biggest files |
        which is the biggest file | files by size | files sorted by size | find the biggest files |
        files using the most space | which files use the most space | which files use the most disk space |
        top {number} biggest files | top {number} files by size | {number} biggest files |
        {number} files using the most space | biggest {number} files | biggest files in {path} |
        biggest files under {path} | which files use the most space in {path} | which files in {path} are the biggest |
        {number} biggest files in {path} | top {number} biggest files in {path} | files in {path} sorted by size |
        biggest files in {name} | biggest files in the {name} folder | {number} biggest files in {name} |
        biggest {pattern} files | {number} biggest {pattern} files | biggest {pattern} files in {path} |
        {pattern} files by size
        """,
        fixed={"sort": "size"},
        slots={"number": "limit", "pattern": "pattern", "path": "path", "name": "path"},
        must=("file/{pattern}",),
        commands="ls -lS | ls -S",
    ),
    Lookup(
        "list_files",
        "files above a size",
        "find {path|.} -type f[ -name {pattern}] -print0 | du -h --files0-from=- --threshold={min_size} | sort -rh",
        """
        files of {size} or more | files with at least {size} | files that are over {size} |
        files that use more than {size} | files of size over {size} | files with a size over {size} |
        is any file bigger than {size} | are there files over {size} | all files of more than {size} in {path} |
        files over {size} below {path} | what files are bigger than {size} |
        files in the {name} folder bigger than {size} | files {size} or bigger | files {size} and up |
        files {size} and bigger | big files over {size} | any file over {size} in {path} |
        {pattern} files over {size} | files bigger than {size} | files over {size} | files of more than {size} |
        files with more than {size} | files of at least {size} | files that are bigger than {size} |
        files whose size is over {size} | files exceeding {size} | find files bigger than {size} |
        find all files bigger than {size} | all files over {size} | which files are bigger than {size} |
        are there any files bigger than {size} | files bigger than {size} in {path} |
        files in {path} bigger than {size} | files under {path} bigger than {size} |
        find files over {size} in {path} | which files in {path} are bigger than {size} |
        files bigger than {size} in {name} | files bigger than {size} in the {name} folder |
        {pattern} files bigger than {size} | {pattern} files over {size} in {path} |
        {pattern} files bigger than {size} in {name}
        """,
        fixed={"sort": "size"},
        slots={"size": "min_size", "pattern": "pattern", "path": "path", "name": "path"},
        needs=("min_size",),
        must=("file/{pattern}",),
    ),
    Lookup(
        "list_files",
        "the biggest folders",
        "du -h {path|.} | sort -rh[ | head -n {limit+1}]",
        """
        what folders use the most space | what folder uses the most space in {path} | folders that use the most space |
        folders by disk usage | disk usage by folder | disk usage per folder | disk usage per folder in {path} |
        space per folder | size of each folder | size of all folders in {path} | size of the folders in {path} |
        how big are the folders in {path} | how much space does each folder use |
        which folder in {path} is the biggest | which folder uses the most space in {path} | biggest subfolders |
        biggest subfolders of {path} | biggest subfolders in {path} | biggest folder in {path} |
        {number} biggest folders under {path} | top {number} folders in {path} by size |
        biggest {number} folders in {path} | folders ordered by size | {number} folders using the most space |
        folder usage | folder usage in {path} | big folders | biggest folders | biggest folder | biggest folders here |
        which folders are the biggest | what are the biggest folders | which folder is the biggest | folders by size |
        folders sorted by size | folder sizes | size of the folders | how big are the folders |
        folders using the most space | which folder uses the most space | which folders use the most disk space |
        which folders use up the most space | top {number} biggest folders | top {number} folders by size |
        {number} biggest folders | biggest folders in {path} | biggest folders under {path} |
        which folders use the most space in {path} | which folders in {path} are the biggest |
        {number} biggest folders in {path} | top {number} biggest folders in {path} | folder sizes in {path} |
        folders in {path} sorted by size | biggest folders in {name} | {number} biggest folders in {name} |
        what is using my disk | what is using the disk | what uses the disk | what is using the disk space |
        what is using up the disk | what is using all the disk space | what is using up all the disk space |
        what uses the most disk space | what uses all the disk space | what uses up the disk space |
        what is using the most disk space | what uses most of the disk | what is using the most disk |
        what is using space | what is using the space | what uses the most space | what uses all the space |
        what is using the most space | what is filling the disk | what is filling up the disk | what fills the disk |
        what fills up the disk | where is my disk space | where is all the disk space going |
        where did all the disk space go | where is the disk space | what is using the space here |
        who is using the disk | who uses the disk space | what is so big here | what is big here | what is on my disk |
        size of {path} | how big is {path} | how big is the folder {path} | how big is the folder {name} |
        size of the folder {path} | size of the folder {name} | size of the {name} folder |
        how much space does {path} use | how big is the {name} folder | what is using the disk in {path} |
        what is filling {path} | what is using disk space in {path} | what is using space in {path} |
        what uses the most space in {path} | what is using the most space in {path} |
        what uses the disk space in {path} | what is filling up {path}
        """,
        fixed={"kind": "folder", "sort": "size"},
        slots={"number": "limit", "path": "path", "name": "path"},
        must=("folder/folders/subfolder/disk/space/big/size/filling",),
        commands="du | du -sh * | du -h | du -sh | du -h {path}",
    ),
    Lookup(
        "list_files",
        "the files that changed last",
        "find {path|.} -type f[ -name {pattern}] -printf '%T+ %p\\n' | sort -r[ | head -n {limit}]",
        """
        what was changed recently in {path} | what changed last in {path} | what was changed last in {path} |
        what changed recently | which files changed recently in {name} | what was changed recently |
        files that changed recently | files that changed last | files changed most recently |
        which files changed most recently | what was changed last | which files were changed last |
        which files were last changed | most recent files | latest {number} files | {number} latest files |
        {number} most recent files | most recent files in {path} | latest files in {path} |
        newest file in {path} | last changed files in {path} | last changed file |
        last {number} changed files in {path} | {number} most recently changed files in {path} |
        which file changed last in {path} | what changed recently in {path} | files in {path} sorted by date |
        files in {path} by date | recent files in {path} | latest {pattern} files | latest {pattern} file |
        newest {pattern} file | last changed {pattern} files | most recently changed {pattern} files |
        most recently changed {pattern} files in {path} | what are the newest files in {path} |
        recently changed | recently changed files | recent files | most recently changed files |
        last changed files | latest files | newest files | newest file | files changed recently |
        which files changed recently | which files were changed recently |
        which files have been changed recently | which files changed last | which file was changed last |
        what files have changed lately | files by date | files sorted by date | {number} newest files |
        last {number} changed files | {number} most recently changed files | {number} last changed files |
        top {number} recently changed files | recently changed files in {path} | newest files in {path} |
        files in {path} changed recently | which files in {path} changed recently |
        which files changed recently in {path} | most recently changed files under {path} |
        {number} newest files in {path} | recently changed files in {name} | newest files in the {name} folder |
        recently changed {pattern} files | newest {pattern} files | newest {pattern} files in {path} |
        which {pattern} files changed recently | {number} newest {pattern} files
        """,
        fixed={"sort": "modified"},
        slots={"number": "limit", "pattern": "pattern", "path": "path", "name": "path"},
        must=("file/{pattern}/changed",),
        commands="ls -t | ls -lt | ls -ltr",
    ),
)
