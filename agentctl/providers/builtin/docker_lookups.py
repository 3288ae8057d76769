"""Lookups about containers: which there are, their logs, details and use of resources."""

from __future__ import annotations

from agentctl.providers.builtin.lookup import Lookup

DOCKER_LOOKUPS = (
    Lookup(
        "docker_ps",
        "all containers, running or not",
        "docker ps -a",
        """
        containers whether running or not | containers whether they are running or not |
        list of all containers | all containers {state} ones too | all containers even {state} ones |
        all containers in any status | containers on this host | all containers whatever their status |
        all containers | containers | docker containers | all docker containers | which containers are there |
        which containers do I have | how many containers are there | what containers exist | every container |
        all containers running or not | all containers running or {state} | all containers running and {state} |
        all containers including {state} ones | all containers including the ones that are {state} |
        all containers also the {state} ones | status of all containers | container status | container list |
        overview of containers | are all containers healthy | are the containers healthy
        """,
        fixed={"all": True},
        must=("container",),
        commands="docker ps -a | docker ps --all | docker container ls -a | docker container ls --all",
        causes="""
        which services are crash looping | which containers are crash looping | is any container crash looping |
        are any containers crash looping | is a container crash looping | which containers are looping |
        is any container in a crash loop | which containers are in a crash loop | crash looping containers |
        are there crash looping containers | containers in a crash loop | what is wrong with the containers
        """,
    ),
    Lookup(
        "docker_ps",
        "the running containers",
        "docker ps",
        """
        is the docker engine running | is docker running | is docker up | is the docker daemon running |
        is the container engine running | is the engine running | is the docker engine up | docker engine status |
        is the docker service running | status of the docker engine | docker status |
        is the docker daemon up | is the docker engine working | does docker work | is docker working |
        is anything running in docker | anything running in docker | what is docker running |
        which containers do we have running | containers currently running | what containers do I have running |
        active containers | running containers | running docker containers | all running containers |
        which containers are running | which containers are up | containers up and running |
        how many containers are running | what containers are running at the moment |
        containers running in docker | what is running in docker | is any container running |
        are there any running containers | running container list
        """,
        must=("container/docker/engine",),
        commands="docker ps | docker container ls | docker container list",
    ),
    Lookup(
        "docker_ps",
        "containers in one state (exited, paused, restarting, created, dead)",
        "docker ps -a --filter status={state}",
        """
        {state} containers | all {state} containers | {state} docker containers | which containers are {state} |
        which containers have {state} | how many containers are {state} | is any container {state} |
        are there any {state} containers | any {state} containers | containers that are {state} |
        containers that have been {state} | containers in state {state} | containers with status {state} |
        which containers keep {state} | which containers {state} last night | which containers {state} yesterday |
        which containers {state} today | which containers {state} recently | which container {state} last |
        which containers {state} in the night | when did containers {state} | list {state} containers please
        """,
        slots={"state": "state"},
        needs=("state",),
        must=("container",),
        causes="why are containers {state} | why is a container {state}",
    ),
    Lookup(
        "docker_ps",
        "containers whose health check fails",
        "docker ps --filter health={state}",
        """
        {health} containers | all {health} containers | {health} docker containers | is {health} any container |
        which containers are {health} | which containers have become {health} | is any container {health} |
        how many containers are {health} | are there any {health} containers | any {health} containers |
        containers that are {health} | containers with status {health} | containers in state {health} |
        is anything {health} in docker | containers with a failing health check | health of the containers |
        which containers fail their health check | containers that fail their health check
        """,
        fixed={"state": "unhealthy"},
        slots={"health": "state"},
        must=("container/docker",),
        commands="docker ps --filter health={health} | docker ps -a --filter health={health}",
        causes="why are containers {health} | why is a container {health}",
    ),
    Lookup(
        "docker_ps",
        "containers whose health check passes",
        "docker ps --filter health=healthy",
        """
        healthy containers | all healthy containers | which containers are healthy | how many containers are healthy |
        containers that are healthy | are there any healthy containers | any healthy containers
        """,
        fixed={"state": "healthy"},
        must=("container", "healthy"),
    ),
    Lookup(
        "docker_ps",
        "containers by name, and whether they run",
        "docker ps -a --filter name={name}",
        """
        container {name} is it up | is there a {name} container running | is there any {name} container |
        has the {name} container {state} | is the container {name} {state} | is my {name} container up |
        what is the status of {name} container | is {name} container up | how is the {name} container doing |
        how is container {name} doing | {name} container running | {name} container | container {name} |
        is the {name} container okay | is the {name} container healthy | is {name} {health} | is {name} healthy |
        health of {name} | how healthy is {name} | how long has {name} been running | how long is {name} running |
        how long has the {name} container been running | since when is {name} running |
        is the {name} container {health} | is container {name} {health} | health of the {name} container |
        is {name} running | is {name} up | is the {name} container up | is container {name} up |
        is container {name} running | is the {name} container running | is the container {name} still running |
        is {name} still running | is {name} {state} | status of container {name} |
        status of the {name} container | state of container {name} | {name} container status |
        container {name} status | containers named {name} | containers called {name} |
        all containers named {name} | container with the name {name} | containers matching {name} |
        containers with {name} in the name | containers whose name contains {name} | {name} containers |
        is the {name} service running | is service {name} running | is the service {name} running |
        is the {name} service up | is service {name} up | is the service {name} up | status of the {name} service |
        status of service {name} | status of the service {name} | is the {name} service {state} |
        is service {name} {state} | is the service {name} {state} | is the {name} service {health} |
        is the compose service {name} running | is the {name} service healthy | is compose service {name} running |
        all {name} containers | is there a container called {name} | is there a container named {name} running |
        is there a {name} container | do we have a {name} container
        """,
        fixed={"all": True},
        slots={"name": "name"},
        needs=("name",),
        must=("container/running/healthy/health/{state}/{health}/service",),
        of_unit="service_status",
        commands="docker ps -a --filter name={name} | docker ps --filter name={name}",
    ),
    Lookup(
        "docker_logs",
        "the logs of a container, or their last lines",
        "docker logs [--since {since} ]--tail {tail|100} {name}",
        """
        look at the {name} logs | look at the logs of {name} | what {name} has logged | what {name} logged |
        what {name} has been logging | what {name} logged {since} | what {name} has been saying |
        what {name} says in its logs | how do the {name} logs look | what is in {name} logs |
        what is in the {name} container logs | last {number} lines that {name} logged |
        last {number} lines which {name} wrote | {number} lines of {name} container logs |
        tail {number} lines of {name} container logs | last {number} {name} logs | last {number} {name} log lines |
        {name} container last {number} log lines | {name} container last {number} lines |
        {name} last {number} log lines | {name} logs {number} lines | logs of the {name} container {since} |
        {name} container logs {since} | logs of container {name} {since} |
        tail the logs of the {name} container {since} | {since} {name} logs |
        what has the {name} container logged {since} | what did the {name} container print {since} |
        newest logs of {name} | last lines of container {name} | end of the {name} logs | what is {name} saying |
        log messages of {name} | log messages from container {name} | stdout of container {name} |
        output of container {name} {since} | logs of {name} | logs for {name} | logs from {name} | log of {name} |
        {name} logs | {name} log | logs {name} | logs of container {name} | logs of the {name} container |
        logs from the container named {name} | logs of the container called {name} | docker logs of {name} |
        docker logs for {name} | {name} container logs | container {name} logs | container logs of {name} |
        logs of service {name} | logs of the service {name} | logs of the {name} service | {name} service logs |
        logs of the {name} service {since} | logs of service {name} {since} | logs of the compose service {name} |
        last {number} log lines of the {name} service |
        logs of compose service {name} | logs of the service {name} {since} |
        log output of {name} | output of container {name} | output of the {name} container | tail logs of {name} |
        tail the {name} logs | latest logs of {name} | recent logs of {name} | last logs of {name} |
        last {number} lines of the {name} logs | last {number} lines of {name} logs |
        last {number} log lines of {name} | last {number} log entries of {name} | last {number} logs of {name} |
        last {number} lines of container {name} | last {number} lines logged by {name} |
        last {number} lines from the {name} container | {number} latest log lines of {name} |
        {number} most recent log lines of {name} | {number} last lines of the log of {name} |
        {number} lines of logs from {name} | {name} logs last {number} lines | logs of {name} last {number} lines |
        logs of {name} {since} | {since} of logs of {name} | logs {since} of {name} | {name} logs {since} |
        what did {name} log {since} | what has {name} logged {since} | what has {name} logged | what is {name} logging |
        what is {name} printing | what is the {name} container saying | what is in the logs of {name} |
        what do the {name} logs say
        """,
        slots={"name": "name", "number": "tail", "since": "since"},
        needs=("name",),
        must=("log/stdout/say/container",),
        of_unit="journal_tail",
        commands="""
        docker logs {name} | docker container logs {name} | docker logs {name} --tail {number} |
        docker logs --tail {number} {name} | docker logs --tail={number} {name} |
        docker logs -n {number} {name} | docker logs {name} -n {number} | docker logs --since {since} {name} |
        docker logs {name} --since {since} | docker compose logs {name} | docker compose logs --tail {number} {name} |
        docker compose logs --tail={number} {name}
        """,
        causes="""
        why did {name} crash | why did the {name} container crash | why did container {name} crash |
        why has {name} crashed | why is {name} crashing | why is {name} {state} | why is the {name} container {state} |
        why is container {name} {state} | why has {name} {state} | why did {name} fail | why does {name} fail |
        why does {name} keep failing | why is {name} failing | why did {name} die | why does {name} keep dying |
        why does the {name} container keep {state} | why does {name} keep {state} | why did {name} exit |
        why does {name} exit | why does the {name} container keep crashing | why does container {name} keep {state} |
        why does the {name} container keep failing | why does the {name} container keep exiting |
        why does {name} keep exiting | why is {name} always {state} | why is {name} constantly {state} |
        why is the {name} container always {state} | why is {name} {health} | why is container {name} {health} |
        why is the {name} container {health} | why has {name} become {health} | why is {name} down |
        why did {name} stop | why did the {name} container stop | why was {name} killed | why has {name} stopped |
        why was the {name} container killed | why is {name} not running | why is the {name} container not running |
        why does {name} not start | why does the {name} container not start | why won't {name} start |
        why isn't {name} running | why won't the {name} container start | why did {name} not start |
        what happened to {name} | what happened to the {name} container | what happened to container {name} |
        why did container {name} stop | why is container {name} not running | why is {name} {state} all the time |
        why is {name} crash looping | why is the {name} container crash looping |
        why is container {name} crash looping | why did {name} restart | why did the {name} container restart |
        why did the {name} container exit | why did the {name} container die | why did the {name} container fail |
        why does {name} keep crashing | what is wrong with {name} | what is wrong with container {name} |
        what is the problem with the {name} container | explain the logs of {name} | explain why {name} crashed
        """,
        state_first=True,
    ),
    Lookup(
        "docker_logs",
        "the logs of a container, to look for errors in",
        "docker logs [--since {since} ]--tail {tail} {name}",
        "",
        fixed={"tail": 1000},
        slots={"name": "name", "since": "since"},
        needs=("name",),
        must=("log/error",),
        causes="""
        any errors in the logs of {name} | any errors in the logs of {name} {since} | errors in the logs of {name} |
        errors in the logs of {name} {since} | errors in the {name} logs | errors in the {name} logs {since} |
        are there errors in the logs of {name} | are there errors in the logs of {name} {since} |
        any errors in {name} logs {since} | any errors in the {name} container logs |
        does {name} log errors | did {name} log errors {since} | any errors from {name} {since} |
        are there any errors in the logs of {name} | are there any errors in the {name} logs |
        are there any errors in the logs of {name} {since} | any errors in the logs of the {name} container |
        any errors in the logs of the {name} container {since} | errors of container {name} {since} |
        errors in the logs of the {name} container | errors in the logs of the {name} container {since} |
        did {name} log any errors {since} | did {name} log any errors | what errors did {name} log |
        what errors did {name} log {since} | which errors did {name} log | errors of the {name} container
        """,
    ),
    Lookup(
        "docker_inspect",
        "the details of a container: image, ports, mounts, state",
        "docker inspect {name}",
        """
        everything about container {name} | everything about the {name} container |
        which volumes are mounted in container {name} | which volumes are mounted in the {name} container |
        mounts in container {name} | which ports does container {name} have open | all info about container {name} |
        inspect service {name} | inspect the service {name} | inspect the {name} service |
        details of the {name} service | details of service {name} | which image does the {name} service use |
        which ports does the {name} service publish | ports of the {name} service | image of the {name} service |
        metadata of container {name} | describe container {name} | describe the {name} container |
        environment of container {name} | which image is container {name} running |
        which network is container {name} in | which network is the {name} container on | {name} container ip |
        network of container {name} | inspect {name} | inspect container {name} | inspect the {name} container |
        docker inspect {name} | details of container {name} | details of the {name} container |
        details about container {name} | details for container {name} | information about container {name} |
        info on the {name} container | container {name} details | {name} container details |
        configuration of container {name} | config of the {name} container | ports of container {name} |
        ports of the {name} container | which ports does container {name} publish |
        which ports does the {name} container expose | mounts of container {name} | volumes of container {name} |
        which volumes does container {name} use | networks of container {name} | ip address of container {name} |
        ip of the {name} container | which image does container {name} use | image of container {name} |
        which image does {name} use | what image does {name} use | which image is {name} running |
        which image is {name} using | which image does the {name} container use | image of the {name} container |
        which image version does {name} use | what is mounted into the {name} container |
        what is mounted into container {name} | what is mounted in the {name} container |
        what is mounted in container {name} | mounts of {name} | what is mounted into {name} |
        what is mounted in {name} | volumes of the {name} container | mounts of the {name} container |
        which ports does {name} publish | which ports does {name} expose | restart policy of the {name} container |
        restart policy of container {name} | restart policy of {name} | {name} restart policy |
        restart count of {name} | restart count of the {name} container | restart count of container {name} |
        which restart policy does {name} have | what is the restart policy of {name} |
        what is the restart policy of the {name} container | show the restart policy of {name} |
        show restart policy of {name} | start command of {name} |
        which environment variables does the {name} container have | environment of the {name} container |
        which environment variables does container {name} have | which environment variables does {name} have |
        environment variables of {name} | environment variables of the {name} container |
        environment variables of container {name} | exit code of {name} | exit code of the {name} container |
        how often did {name} restart | how many times has {name} restarted | how often has {name} restarted |
        how many times did {name} restart | how often did the {name} container restart |
        how often was {name} restarted | when did {name} start | when was {name} started |
        when did the {name} container start | when was the {name} container started |
        exit code of container {name} | what is the exit code of {name} | ip address of the {name} container
        """,
        slots={"name": "name"},
        needs=("name",),
        must=(
            (
                "inspect/container/service/image/mount/mounted/publish/expose/policy/count/variable/code/command/"
                "restart/restarted/start/boot"
            ),
            (
                "inspect/info/config/port/mount/mounted/volume/network/ip/image/everything/metadata/describe/"
                "environment/policy/count/code/command/restart/restarted/start/boot"
            ),
        ),
        commands="docker inspect {name} | docker container inspect {name}",
    ),
    Lookup(
        "docker_stats",
        "CPU and memory of the running containers",
        "docker stats --no-stream",
        """
        resource usage per container | are containers using a lot of memory |
        are the containers using much cpu | container cpu and memory | live container stats |
        how much are the containers using | memory and cpu usage per container | docker memory usage |
        docker cpu usage | docker container stats | what are the containers using |
        how busy are the containers | which container is using all the memory | which container hogs the cpu |
        container stats | docker stats | stats of all containers | container resource usage |
        resource usage of containers | cpu usage of containers | memory usage of containers |
        cpu and memory usage of containers | container cpu | container memory |
        how much memory do the containers use | how much cpu do the containers use |
        how much cpu and memory do the containers use | how much memory does docker use |
        how much memory are the running containers using | which container uses the most memory |
        which container uses the most cpu | containers using the most memory | containers by memory |
        containers by cpu usage | containers sorted by memory usage | memory per container | cpu per container |
        memory usage of each container
        """,
        must=("container/docker",),
        commands="docker stats | docker stats --no-stream | docker container stats",
        causes="why are the containers so slow | why do the containers use so much memory",
    ),
    Lookup(
        "docker_stats",
        "CPU and memory of one container",
        "docker stats --no-stream {name}",
        """
        how much is container {name} using | how busy is the {name} container | cpu load of container {name} |
        cpu and memory of the {name} service | memory usage of the {name} service | memory of the {name} service |
        cpu usage of the {name} service | stats of the {name} service | stats of service {name} |
        how much memory does the {name} service use | how much cpu does the {name} service use |
        docker stats for {name} | docker stats of {name} | {name} container cpu and memory |
        is the {name} container using much memory | is container {name} using a lot of cpu | stats of {name} |
        stats for {name} | stats of container {name} | {name} container stats | container {name} stats |
        resource usage of container {name} | resources of the {name} container |
        memory usage of container {name} | memory usage of the {name} container |
        cpu usage of container {name} | cpu usage of the {name} container | cpu and memory of container {name} |
        cpu and memory usage of the {name} container | how much memory does container {name} use |
        how much memory does the {name} container use | how much cpu does container {name} use |
        how much cpu is the {name} container using | {name} container memory usage |
        container {name} memory usage | {name} container cpu usage
        """,
        slots={"name": "name"},
        needs=("name",),
        must=("container/stat/service",),
        commands="docker stats {name} | docker stats --no-stream {name} | docker stats {name} --no-stream",
        causes="""
        why is container {name} so slow | why is the {name} container slow |
        why does the {name} container use so much memory | why does container {name} use so much cpu
        """,
    ),
)
