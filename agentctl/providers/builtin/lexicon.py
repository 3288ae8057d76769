"""The words that ``builtin`` knows: politeness, plain English, synonyms, file kinds, verbs of change and of thought."""

from __future__ import annotations


def word_set(words: str) -> frozenset[str]:
    """Return the words of a text as a set."""
    return frozenset(words.split())


# Around a question: left out of it.
POLITE = word_set(
    """
    please sure mind pls plz kindly can could would you u me i we us my our your the a an this that these
    those just quickly quick now currently right moment hey hi hello there thanks thank thx ok okay
    show list display print give tell see view check get want need know let lets actually exactly
    really maybe their its present i'm i'd i'll ive i've dear current listing shown showing so one
    ones gimme lemme wanna gonna enumerate report dump provide mate folks guys asap btw simply
    basically curious wonder wondering interested cheers ty hiya yo brief short complete entire
    whole overall overview summary simple general out
    """
)
# Allowed in every question, with a low weight.
LIGHT = word_set(
    """
    of for from on in at by with to is are am be been do does have has had got it what which how all
    any some every each server host machine box computer system laptop vm here local locally as into
    inside within across about out if look like used use have having currently anything something
    anyone anybody someone somewhere anywhere around instance node going
    """
)
# Adjectives of containers, images and processes: before these nouns they are not names.
ADJECTIVES = word_set(
    """
    dangling untagged tagged unused intermediate official idle busy orphan orphans orphaned
    privileged unprivileged outdated stale obsolete deprecated redundant leftover important critical
    suspicious malicious infected zombie zombies defunct background foreground sleeping native known
    interesting relevant leaky leaking rogue foreign unknown unnamed anonymous exposed popular
    finished completed hung hanging stuck unresponsive oomkilled pending waiting ready blocked
    dormant inactive expired temporary ephemeral persistent looping ill ailing flaky faulty buggy
    crashed crashing corrupt corrupted damaged defective malfunctioning misbehaving offending
    affected troubled troublesome problematic noisy greedy heavy heaviest laggy sluggish overloaded
    overworked starving frozen jammed wedged dying deceased lost missing vulnerable insecure
    compromised hacked ugly nasty annoying weird strange odd funny silly stupid useless pointless
    needless unnecessary superfluous unneeded unwanted abandoned forgotten neglected ancient antique
    aged elderly ageing aging legacy fresh current recent latest newest oldest biggest largest
    smallest youngest longest shortest highest lowest entire whole complete full half partial actual
    real main primary secondary own specific particular certain corresponding respective appropriate
    necessary required needed desired chosen selected given said aforementioned mentioned disabled
    enabled unavailable available reachable unreachable inaccessible accessible failing failed
    errored erroneous crashy broken wrong bad worst slow slower slowest fast faster fastest hot cold
    old older new newer healthy normal other another same different next previous last first second
    third remaining external internal public private remote hidden empty duplicate good better best
    big large small bigger smaller unstable stable unreliable reliable restarted rebooted killed
    terminated ended dropped detached attached linked related unrelated connected disconnected
    isolated separate single sole lone only
    """
)
# Programs of the machine itself: a question about one is about a process, not about a container of that name.
DAEMONS = word_set(
    """
    sshd dockerd containerd systemd cron crond rsyslogd syslogd journald systemd-journald udevd
    systemd-udevd systemd-resolved systemd-networkd logind systemd-logind kubelet snapd ntpd chronyd
    firewalld networkmanager auditd dbus dbus-daemon init
    """
)
# Plain words that are never the name of a container, a process or a folder.
PLAIN = ADJECTIVES | word_set(
    """
    not no none never nothing without except excluding but others else instead than then also too
    plus and or nor both either neither whether while because although though when where why who
    whom whose will shall may might must should ought was were did done doing being before after
    since until till between during ago yesterday today tomorrow morning evening night noon midnight
    week weeks month months year years day days hour hours minute minutes seconds monday tuesday
    wednesday thursday friday saturday sunday january february march april june july august
    september october november december soon later early earlier late past future more most less
    least few fewer fewest much many little lot lots enough several twice double average total sum
    count number amount rate percent percentage higher lower high low tiny young warm worse nice
    great fine safe secure unsafe correct true false error errors warning warnings exception
    exceptions failure failures fail fails crash crashes problem problems issue issues trouble bug
    bugs etc eg ie everything anything something someone anyone everyone nobody everybody somebody
    thing things stuff people person user users owner owners group groups root admin he she him her
    his hers they them it itself myself yourself here weather time date clock temperature
    temperatures price cost costs money battery internet world country president city language
    function poem haiku joke story song essay text word words line lines string sentence meaning
    difference differences advice idea ideas example examples reason reasons cause causes way ways
    steps help explain describe summarize summarise summary compare translate recommend suggest
    advise think believe guess predict estimate calculate compute solve prove analyse analyze review
    debug diagnose investigate mean means happen happens happened happening look looks looking find
    finding found search searching say says saying ask asks asking answer question questions make
    makes take takes come comes go goes going went keep keeps put puts work works working worked try
    tries trying tried call calls start end begin begins begun under over above below against
    through toward near far left right top bottom middle similar again once still already yet ever
    even very quite rather almost nearly per via using uses usage used name names named called size
    sizes type types kind kinds sort sorted order ordered version versions level levels state states
    status list lists table graph chart picture pictures photo photos video videos music movie
    movies game games production staging login logins logged online offline duplicates secret
    secrets password passwords permission permissions commit commits author authors history diff
    package packages services module modules library libraries dependency dependencies vulnerability
    vulnerabilities security risk attack virus malware memory cpu gpu disk swap kernel port ports
    hardware device devices usb printer keyboard mouse screen window windows macos mac android phone
    """
)
# Synonyms: each word means the last one of its line.
_SAME = """
directory dir folder
folders directories dirs folders
subfolders subfolder subdirectory subdirectories subdirs subfolder
users users
largest huge hugest heaviest fattest biggest
larger greater exceeding above bigger
over bigger
ram mem memory
drive drives hdd ssd harddisk harddrive storage partition partitions volume_group disk
filesystem filesystems fs disk
uses used using usage use consume consumes consuming consumption consumer consumers hungry use
guzzling gobbling chewing burning claiming claims claimed eat eats eating hog hogs hogging use
occupy occupies occupied use
occupying taking take takes taken consumed eaten utilisation utilization use
running runs up alive active live online running
listening listens listen listener listeners bound listen
procs proc process
programs program process
modified changed updated edited touched changed
recently lately recent
contains contain containing includes include mention mentions mentioned mentioning contain
contents content
detail details info information infos info
configuration configurations config settings configured setup config
address addresses ips ip
operating-system distro distribution os
repo repository repos repo
logging logged log
printing printed prints log
writing wrote written log
saying says said say say
output outputs log
statistics statistic stats stat
resource resources resource
available remaining left spare free
whats what
room rooms space
gigs gig gigabytes gigabyte gb gigabyte
avg average
stuff things items script scripts file
server host box computer laptop vm node instance hosts servers machines machine
rebooted reboots booted boots startup started boot
state states situation condition status
subnets networks network
whos who
wheres where
hows how
ending ends ended extension extensions suffix end
insensitive insensitively insensitive
ignoring ignores ignored disregarding ignore
occurs occur occurrence occurrences appears appear occur
named titled called name
hold holds holding hold
sorted ordered sort order sort
procesess process
worktree tree
cpus cpu
podman docker
isn't won't can't cannot doesn't didn't aren't wasn't hasn't not
"""


def _synonyms() -> dict[str, str]:
    table: dict[str, str] = {}
    for line in _SAME.strip().splitlines():
        *others, word = line.split()
        table.update(dict.fromkeys(others, word))
    return table


SAME = _synonyms()

STATES = {
    "exited": "exited",
    "stopped": "exited",
    "down": "exited",
    "paused": "paused",
    "restarting": "restarting",
    "created": "created",
    "dead": "dead",
}
#: Words for a health check that fails.
UNHEALTHY = word_set("unhealthy sick")
#: An engine's words for the result of a health check.
HEALTH = word_set("healthy unhealthy starting")
_TEENS = """
two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen
nineteen twenty
"""
NUMBERS = {word: number for number, word in enumerate(_TEENS.split(), 2)} | {
    "thirty": 30,
    "forty": 40,
    "fifty": 50,
    "hundred": 100,
}
# Patterns of files by the word for their kind, and endings that make a word the name of a file.
KINDS = {
    "python": "*.py",
    "yaml": "*.y*ml",
    "log": "*.log",
    "text": "*.txt",
    "markdown": "*.md",
    "shell": "*.sh",
    "bash": "*.sh",
    "javascript": "*.js",
    "typescript": "*.ts",
    "rust": "*.rs",
    "java": "*.java",
    "c": "*.c",
    "perl": "*.pl",
    "ruby": "*.rb",
}
ENDINGS = word_set(
    """
    py pyc js ts jsx tsx json yaml yml toml ini cfg conf cnf config txt md rst log csv tsv xml html
    htm css scss sql sh bash zsh go rs c h cc cpp hpp java kt rb php pl lua r swift gz tgz tar zip
    bz2 xz zst 7z rar deb rpm whl jar war so png jpg jpeg gif svg webp ico pdf doc docx xls xlsx odt
    ods ppt pptx mp3 mp4 mkv mov avi wav flac iso img qcow2 vmdk db sqlite sqlite3 bak old tmp swp
    pid lock sock service timer socket target mount pem crt cer key csr pub env properties tf tfvars
    hcl lst list out err dump bin dat data proto gradle cmake mk patch diff rules repo plist tex bib
    ipynb
    """
)
FILE_NAMES = word_set(
    """
    dockerfile makefile readme license licence changelog jenkinsfile vagrantfile procfile gemfile
    rakefile containerfile caddyfile authorized_keys known_hosts id_rsa id_ed25519 crontab fstab
    passwd
    """
)


# Verbs of change: a task with one of them never becomes a call.
CHANGES = word_set(
    """
    restart bump close reboot stop start kill terminate remove delete del rm rmi rmdir create make
    mkdir write install uninstall reinstall set unset move mv rename chmod chown chgrp prune update
    upgrade downgrade cleanup clean clear purge wipe erase destroy drop nuke add append insert
    prepend edit modify change alter replace patch copy cp backup restore deploy redeploy undeploy
    scale pull push fetch clone commit merge rebase checkout stash rollback revert reset undo redo
    build rebuild run rerun exec execute launch spawn pause unpause suspend resume freeze shutdown
    poweroff halt enable disable mount unmount umount format partition resize extend expand grow
    shrink increase decrease reduce raise limit throttle attach detach connect disconnect join leave
    link unlink symlink ln touch truncate empty trash shred compress uncompress decompress zip unzip
    gzip gunzip untar extract archive rotate flush free-up tidy download upload send post submit
    wget configure reconfigure setup tune fix repair heal recover allow deny block unblock ban unban
    grant revoke encrypt decrypt sign register unregister subscribe schedule cancel abort bounce
    recycle respawn evict drain cordon renew rotate generate save export import convert sync rsync
    mirror migrate switch swapoff swapon sudo systemctl apt apt-get dnf yum pacman pip npm useradd
    userdel usermod adduser deluser dd mkfs tee sed kick bring turn put fire spin shut tear throw
    toss sweep vacuum defragment optimise optimize adjust assign allocate apply initialize
    initialise init bootstrap provision transfer swap-out dispose discard eject inject replace strip
    overwrite unexpose relaunch reload refresh renice signal sigterm sigkill pkill killall
    """
)
# Phrases in which a verb of change only describes.
HARMLESS = (
    "docker compose service",
    "docker compose project",
    "docker compose status",
    "did docker compose start",
    "did compose start",
    "mount point",
    "tree clean",
    "tree is clean",
    "repo clean",
    "repo is clean",
    "repository clean",
    "repository is clean",
    "--format",
    "restart policy",
    "restart policies",
    "restart count",
    "start command",
    "what can docker prune",
    "what could docker prune",
    "what docker can prune",
    "much can docker prune",
    "much could docker prune",
    "space can docker prune",
    "space could docker prune",
    "anything docker can prune",
    "what can be pruned",
    "space can be pruned",
    "what can i prune",
    "what could i prune",
)
# Changes without a verb of change.
CHANGE_PHRASES = (
    "get rid",
    "you free ",
    "please free ",
    "to free ",
    "free port",
    "open port ",
    "open up",
    "end process",
    "end the process",
    "not be running",
    "not run ",
    "free up",
    "free some",
    "free more",
    "take down",
    "take out",
    "take offline",
    "back up",
    "spun up",
    "compose up",
    "compose down",
    "docker compose",
    "docker swarm",
    "docker stack",
    "docker tag",
    "docker login",
    "give it a",
    "> /",
    ">>",
)
# Participles that describe files and containers; those of other verbs of change ask for a change.
DESCRIBING = word_set(
    """
    stopped paused created changed modified updated edited touched mounted linked attached published
    archived installed rebooted started
    """
)
IRREGULAR = word_set(
    """
    written rewritten overwritten built rebuilt sent shrunk frozen thrown torn begun undone reset
    put gone
    """
)
ASKING = word_set(
    """
    why how what which when who where whose should shall did does do is are was were has had explain
    if
    """
)
# Verbs of showing: a verb of change in the same clause is the subject of the question (show the install log).
SHOWING = word_set("show list display print view count find which")
# After these a verb of change is a noun (the restart count, the start time).
NOUNS = word_set("count counts time times policy policies date dates")
# The second word of a command line that only reads: apt list, systemctl status.
READING = word_set(
    """
    list list-units list-timers list-unit-files ls status show info search outdated is-active is-enabled is-failed
    """
)
# Questions that are requests anyway.
INDIRECT = ("is it possible", "are you able", "why don't you", "why dont you", "how about", "what about")
# How to do something, something to make up, or two things at once: never a lookup.
THOUGHTS = (
    "how to ",
    "how do i ",
    "how do you ",
    "how do we ",
    "how can i ",
    "how can we ",
    "how can you ",
    "how could i ",
    "how would ",
    "how should ",
    "what would ",
    "what if ",
    "what happens if ",
    "difference between ",
    "meaning of ",
    "what is a ",
    "what's a ",
    "what is an ",
    "what's an ",
    "in the container ",
    "inside the container ",
    "everything ok",
    "everything fine",
    "everything alright",
    "everything all right",
    "and show ",
    "and list ",
    "and tell ",
    "and give ",
    "and print ",
    "and check ",
    "and find ",
    "and also ",
    "and then ",
)
MADE_UP = word_set(
    """
    script program code function loop poem haiku joke story song essay query regex article letter
    list
    """
)
