"""The words that ask for something else than a lookup: verbs of change, and what needs thought."""

from __future__ import annotations

from agentctl.providers.builtin.lexicon import word_set

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
# A verb of change that only describes, in these phrases.
HARMLESS = (
    "mount point",
    "tree clean",
    "tree is clean",
    "repo clean",
    "repo is clean",
    "repository clean",
    "repository is clean",
    "--format",
)
# Changes said without such a verb.
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
# What was done to something: these describe files and containers, the others ask for a deed.
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
# What one shows: a verb of change behind it, in the same breath, is what one asks about (the install log).
SHOWING = word_set("show list display print view count find which")
# Behind a verb of change: then it is a noun (the restart count, the start time).
NOUNS = word_set("count counts time times policy policies date dates")
# The second word of a command line that only reads: apt list, systemctl status.
READING = word_set(
    """
    list list-units list-timers list-unit-files ls status show info search outdated is-active is-enabled is-failed
    """
)
# Asking that is a request all the same.
INDIRECT = ("is it possible", "are you able", "why don't you", "why dont you", "how about", "what about")
# Asked how to do it, to have something made up, or two things at once: never a lookup.
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
