"""Lookups about this machine."""

from __future__ import annotations

from agentctl.providers.builtin.lookup import Lookup

_NAMED = """
    is {name} running as a process | find {name} processes | find processes named {name} |
    any {name} process running | is a {name} process running | process called {name} | pid of {name} |
    process id of {name} | what is the pid of {name} | pid of the {name} process |
    how many {name} processes are there | is there any {name} process | are {name} processes running |
    {name} processes | {name} process | all {name} processes | running {name} processes | process {name} |
    processes named {name} | processes called {name} | process with the name {name} |
    processes matching {name} | processes with {name} in the name | is the {name} process running |
    is the process {name} running | is process {name} running | is a process called {name} running |
    is there a process called {name} | is there a process named {name} | is there a {name} process running |
    are there any {name} processes | which {name} processes are running |
    how many {name} processes are running | is the {name} daemon running
"""

SYSTEM_LOOKUPS = (
    Lookup(
        "system_disks",
        "free and used space of the disks, or of the one that holds a path",
        "df -h[ {path}]",
        """
        disk stats | disk info | is the disk getting full | how is the disk | how are the disks | disk status |
        how many gigabyte are free | how many gigabyte are free on the disk | how many gigabyte of disk space are free |
        am I running out of disk space | are we running out of disk | am I low on disk space | is disk space low |
        are we running low on disk space | how much space on the disk | is there space on the disk |
        does the disk have space | disk free | disk overview | space on disk | space left on {path} | space on {path} |
        disk space on {path} | free disk space on {path} | free space in {path} | disk usage of {path} |
        how much disk is free on {path} | how much disk space does {path} have | which disks do we have |
        all mounted disks | mount points | mounts | disk usage in percent | how full is the disk with {path} |
        how full is the disk {path} | root disk | is the root disk full | disk usage | disk space | free disk space |
        free space | how much disk is free | how much disk space is free | how much disk space is left |
        how much space is left | how much space do I have left on the disk | how much free space is there |
        how much disk space is available | how much disk is used | how full is the disk | how full are the disks |
        how full is my hard disk | is the disk full | is there enough space left on the disk |
        is there space left on the disk | available disk space | remaining disk space | used disk space | all disks |
        which disks are there | disks and their size | disk size | how big is the disk | mounted disks |
        mounted file systems | disk capacity | free space on each disk | free space on {path} |
        how much space is free on {path} | how much space is left in {path} | disk usage of the disk that holds {path} |
        space left on the disk where {path} is | how full is {path} | is {path} full |
        is there enough free space on {path} | how much is free on {path} | unused disk space |
        which disk is nearly full | which disk is almost full | which disk is full | is any disk full |
        is any disk nearly full | is any disk almost full | are any disks full | which disks are nearly full |
        which disks are almost full | nearly full disks | which disk is the fullest | fullest disk |
        which disk has the least space | which disk has the most space | which disk has the least free space |
        which disk is running out of space | is a disk running out of space | is the disk nearly full |
        is the disk almost full | which disk has the most free space | how much unused disk space is there
        """,
        slots={"path": "path"},
        must=("disk/space/free/full/capacity/mount/mounted/{path}",),
        commands="df | df -h | df -h {path} | df {path} | df -hT | lsblk",
        causes="""
        why is the disk full | why is my disk almost full | why is there no space left on the disk |
        why is the disk filling | explain what is filling my disk | explain the disk usage |
        should I worry about disk space | is the disk space enough | why is {path} full
        """,
    ),
    Lookup(
        "system_memory",
        "memory and swap",
        "free -h",
        """
        memory stats | swap stats | memory and swap stats | memory info | how is the memory |
        am I running low on memory | am I running out of memory | are we running out of memory | is memory low |
        is the memory low | total and free memory | total and used memory | free and used memory |
        how many gigabyte of memory are there | how many gigabyte of memory are free |
        how much memory in total | how much memory do we have | how much total memory |
        how much memory is there | how much swap do we have | memory and swap status | memory left |
        memory overview | is memory getting full | do we have enough memory |
        does the machine have enough memory | how much physical memory | is the machine out of memory | memory |
        memory usage | free memory | used memory | available memory | total memory | how much memory is free |
        unused memory |
        how much memory is left | how much memory is used | how much memory is available |
        how much memory does this machine have | how much memory do I have left | how much memory is installed |
        how full is the memory | is the memory full | is there enough memory left | memory and swap |
        memory and swap usage | swap | swap usage | swap space | is swap used | how much swap is used |
        how much swap is free | is the machine swapping | memory status | system memory
        """,
        must=("memory/swap/swapping",),
        commands="free | free -h | free -m | free -g",
        causes="""
        why is the memory full | why is so much memory used | why is memory usage so high |
        why is there so little memory left | why is the machine swapping | why is swap used |
        should I worry about memory usage | explain the memory usage
        """,
    ),
    Lookup(
        "system_load",
        "load averages and CPU use",
        "top -bn1 | head -n 3",
        """
        cpu stats | load stats | cpu info | is the cpu under load | is the machine under heavy load |
        is the cpu under heavy load | load status | how is the load | load on the machine | load of the cpu |
        how is the cpu doing | how much cpu is being used | how much load is on the machine | cpu status |
        cpu percent | cpu usage in percent | how hard is the cpu working | how hard is the machine working |
        is the server busy | is the server under load | average load | system load average | load |
        load average | load averages | system load | cpu load | cpu usage | cpu utilization | server load |
        what is the load | how high is the load | how high is the cpu load | how high is the cpu usage |
        how busy is this machine | how busy is the cpu | how loaded is the machine | is the machine busy |
        is the cpu busy | is the machine overloaded | how much cpu is used | current load of the machine
        """,
        must=("load/loaded/cpu/busy/overloaded/slow/average/hard",),
        commands="w | cat /proc/loadavg",
        causes="""
        why is the machine slow | why is this server so slow | why is everything so slow | why is the load so high |
        why is the cpu load high | why is the cpu usage high | why is the cpu busy | why is the cpu so busy |
        should I worry about the load | explain the load | is the load normal | is the load too high
        """,
    ),
    Lookup(
        "system_info",
        "how long this machine has been up",
        "uptime -p",
        """
        when was this machine last boot | when was the machine boot | when did the machine last boot |
        how long since last boot | last boot | time since boot | how long ago was the last boot |
        how long has the machine been on | since when is it running | when was the machine boot last | uptime |
        system uptime | uptime of this machine | how long has this machine been running |
        how long has the server been running | how long is the machine running |
        how long has this machine been up | how long is the server up | since when is the machine up |
        since when is this machine running | since when is the system running | when was the last boot |
        when did this machine boot | last boot time | boot time
        """,
        fixed={"about": "uptime"},
        must=("uptime/long/boot/since",),
        commands="uptime | uptime -p | uptime -s",
    ),
    Lookup(
        "system_processes",
        "the processes that use the most CPU",
        "ps aux --sort=-%cpu | head -n {limit+1|11}",
        """
        what is using up all the cpu | what is using up my cpu | processes with the most cpu |
        who is using up the cpu | most cpu using processes | {number} most cpu using processes |
        {number} biggest cpu using processes | {number} processes by cpu | {number} top processes |
        {number} processes | top {number} cpu using processes | biggest cpu process | what processes are there |
        running processes by cpu | which program uses the most cpu | what is the top process by cpu |
        processes with the most cpu usage | processes with the highest cpu usage | process list |
        list of processes | all running processes | what is running right on this box | who uses the cpu |
        who uses the most cpu | cpu using processes | most active processes | heaviest processes by cpu |
        processes that use the most cpu | processes that use a lot of cpu | processes | all processes |
        running processes | which processes are running | what is running on this machine | what is running |
        top processes | top {number} processes | processes by cpu | processes by cpu usage |
        processes sorted by cpu | processes sorted by cpu usage | processes using the most cpu |
        which process uses the most cpu | which processes use the most cpu | which processes use a lot of cpu |
        what uses the most cpu | what is using my cpu | what is using all the cpu | who is using the cpu |
        top cpu processes | top cpu users | biggest cpu users | busiest processes |
        top {number} processes by cpu | top {number} cpu processes | top {number} cpu users |
        {number} processes using the most cpu | {number} busiest processes | {number} biggest cpu users
        """,
        fixed={"sort": "cpu"},
        slots={"number": "limit"},
        must=("process/cpu/running/program/processes",),
        commands="ps | ps aux | ps -ef | ps -aux | top | htop",
    ),
    Lookup(
        "system_processes",
        "the processes that use the most memory",
        "ps aux --sort=-%mem | head -n {limit+1|11}",
        """
        what is using up all the memory | what is using up my memory | what uses up all the memory |
        processes with the most memory | who is using up all the memory | most memory using processes |
        {number} most memory using processes | {number} biggest memory processes |
        {number} processes by memory | {number} top memory processes | top {number} memory using processes |
        biggest memory process | who uses the most memory | who uses all the memory |
        which program uses the most memory | processes with the most memory usage |
        processes with the highest memory usage | memory using processes |
        {number} processes that use the most memory | processes that use the most memory |
        where is all the memory going | where did all the memory go | processes by memory use top {number} |
        processes by memory | processes by memory usage | processes sorted by memory |
        processes sorted by memory usage | processes using the most memory |
        which process uses the most memory | which processes use the most memory |
        which processes use a lot of memory | what uses the most memory | what is using my memory |
        what is using all the memory | who is using the memory | top memory processes | top memory users |
        biggest memory users | top {number} processes by memory | top {number} memory processes |
        top {number} memory users | {number} processes using the most memory | {number} biggest memory users |
        {number} biggest processes by memory | biggest processes
        """,
        fixed={"sort": "memory"},
        slots={"number": "limit"},
        must=("memory/process",),
        commands="ps aux --sort=-%mem",
    ),
    Lookup(
        "system_processes",
        "the processes by name",
        "ps -e --sort=comm | head -n 11",
        """
        processes by name | processes sorted by name | processes ordered by name |
        all processes sorted alphabetically | processes in alphabetical order
        """,
        fixed={"sort": "name"},
        must=("process",),
    ),
    Lookup(
        "system_processes",
        "processes with a name",
        "pgrep -aif {name}",
        f"""
        {_NAMED} | {_NAMED.replace("{name}", "{daemon}")} | is {{daemon}} running | is {{daemon}} up |
        is {{daemon}} still running | {{daemon}} running | {{daemon}} | is {{daemon}} running on this machine
        """,
        slots={"name": "name"},
        needs=("name",),
        must=("process/daemon/pid/{daemon}",),
        commands="pgrep {name} | pgrep -a {name} | pidof {name}",
    ),
    Lookup(
        "system_ports",
        "who listens on a port",
        "ss -tulpn 'sport = :{port}'",
        """
        port {number} in use | is port {number} in use | is port {number} being used |
        is port {number} already in use | is port {number} busy | which process has port {number} open |
        which process has port {number} | what process is on port {number} | who has port {number} open |
        what has port {number} open | is something on port {number} | does something listen on port {number} |
        is anybody on port {number} | who is on port {number} | which process is behind port {number} |
        what sits on port {number} | port {number} process | pid on port {number} |
        what process is using port {number} | is {number} in use | is {number} open |
        listener on port {number} | what is bound to port {number} | who listens on port {number} |
        who is listening on {number} | what is listening on port {number} | what listens on {number} |
        what is running on port {number} | what runs on {number} | which process listens on port {number} |
        which process uses port {number} | which process is using {number} | which program uses port {number} |
        which service uses port {number} | who uses port {number} | what uses port {number} |
        what is using {number} | is anything listening on port {number} |
        is something running on port {number} | is port {number} open | is port {number} used |
        is port {number} free | is port {number} taken | port {number} | process on port {number} |
        what is on port {number} | who holds port {number}
        """,
        slots={"number": "port"},
        needs=("port",),
        commands="lsof -i :{number} | lsof -i:{number} | lsof -i tcp:{number} | fuser {number}/tcp",
        causes="why is port {number} used | why is port {number} in use | why is port {number} taken",
    ),
    Lookup(
        "system_ports",
        "all listening ports",
        "ss -tulpn",
        """
        list of open ports | list of open tcp ports | what ports is this machine listening on |
        which ports is the server listening on | what ports are being used | listening tcp ports |
        listening tcp and udp ports | who listens on which port | which process listens on which port |
        which processes listen on which ports | ports and processes | open ports and their processes |
        what is this machine listening on | which tcp ports are open | which ports does this machine listen on |
        local ports | listen sockets | tcp listen | active ports | all ports in use | listening ports |
        all listening ports | open ports | all open ports | ports | which ports are open |
        which ports are used | which ports are listening | what is listening | who is listening |
        which processes are listening | which services are listening | which ports are processes listening on |
        listening sockets | open sockets | listening services | ports in use | used ports | open tcp ports |
        open network ports | tcp and udp ports | listening processes
        """,
        must=("port/listen/socket",),
        commands="""
        ss | ss -tulpn | ss -tlnp | ss -ltnp | ss -tln | ss -lntp | netstat -tulpn | netstat -tlnp |
        netstat -plnt | netstat -tuln | lsof -i
        """,
    ),
    Lookup(
        "system_info",
        "the operating system, its kernel and this machine's name",
        "uname -a; cat /etc/os-release; nproc",
        """
        os and kernel version | kernel and os version | which os and kernel is this |
        what version of linux is installed | which linux version is installed | version of the kernel |
        version of the os | what os do we have | name of this host | what is the host name | host name |
        what is this host called | what host am I on | which machine am I on | which host is this |
        what distribution is installed | what kernel | linux kernel version | os info | system name | kernel |
        kernel version | which kernel version is this | which kernel is running | what kernel do we have | os |
        os version | what os is this | which os is running | operating system | which operating system is this |
        which version of the operating system | which version of linux is this | which linux is this | linux version |
        which os is installed | hostname | what is the hostname | name of this machine |
        what is the name of this machine | what is this machine called | architecture | cpu architecture |
        what operating system is this | which operating system is installed |
        which operating system does this machine have | what operating system am I on | operating system version |
        version of the operating system | what operating system is running | what operating system runs here |
        name of the operating system | how many cores does this host have | how many cores | how many cores are there |
        how many cores do we have | number of cores | core count | cpu cores | how many cpu cores are there |
        how many cpu cores do we have | how many cpu cores does the machine have | how many cpu are there |
        how many cpu do we have | how many cpu does this machine have | number of cpu | number of cpu cores |
        how many processors are there | how many processors does this machine have | how many processors do we have |
        number of processors | cpu count | how many cores has this machine | how many cpu has this machine |
        how many cores has the cpu | how many cores does the cpu have | how many processor cores are there | cores |
        processors
        """,
        fixed={"about": "system"},
        must=("kernel/os/linux/hostname/architecture/name/machine/bit/core/operating/processor/cpu",),
        commands="""
        uname | uname -a | uname -r | hostname | cat /etc/os-release | lsb_release -a | hostnamectl
        """,
    ),
    Lookup(
        "system_info",
        "who you are on this machine",
        "id",
        """
        what is my username | my user name | user name | who is the current user | which user is running this |
        which user are we | my uid | user and groups | what groups do I belong to | who am I | which user am I |
        which user is this | what user am I running as | what is my user name | my username | current user |
        my user | user info | user id | which groups am I in | my groups | as whom am I logged in
        """,
        fixed={"about": "user"},
        must=("am/user/username/whoami/group/uid/whom",),
        commands="whoami | id | groups | id -un",
    ),
    Lookup(
        "system_info",
        "this machine's addresses",
        "ip address",
        """
        which ip does this machine have | which ip address does the server have | what ip do I have |
        what ip address has this machine | what address does this machine have | local addresses | ipv4 address |
        ipv6 address | ipv4 and ipv6 addresses | network address | mac address | ip addresses of all interfaces |
        interfaces | network cards | which addresses does this server have | what is the ip of this box |
        what is this machine's ip | all ip addresses | ip | ip address | ip addresses | what is my ip |
        what is my ip address | which ip addresses does this machine have | ip of this machine | local ip address |
        network addresses | addresses of this machine | network interfaces | network interfaces and their addresses |
        all network interfaces | which network interfaces are there | ip config
        """,
        fixed={"about": "addresses"},
        must=("ip/address/interface/card",),
        commands="ip a | ip addr | ip address | ip -br a | ifconfig | hostname -I | ipconfig",
    ),
    Lookup(
        "system_info",
        "all about this machine",
        "hostnamectl",
        """
        system info | describe this machine | describe the system | machine overview | about this machine |
        about this server | everything about this machine | system summary | system facts |
        basic info about the system | system status | machine specs | system specs | server status |
        system information | information about this machine | info about the system | machine info | host info |
        server info | machine details | about this system | system overview | overview of this machine |
        what kind of machine is this | what machine is this | summary of this system
        """,
        fixed={"about": "all"},
        must=("system/machine/info",),
        commands="neofetch | fastfetch",
    ),
)
