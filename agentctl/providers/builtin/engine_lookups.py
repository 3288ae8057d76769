"""Lookups about what else an engine has: images, networks, volumes and disk space."""

from __future__ import annotations

from agentctl.providers.builtin.lookup import Lookup

ENGINE_LOOKUPS = (
    Lookup(
        "docker_images",
        "the images on this engine",
        "docker images",
        """
        which images use the most space | images using the most space | image list | image sizes |
        list of images | images in docker | images sorted by size | which images are installed | images |
        docker images | all images | container images | which images do I have | which docker images are there |
        what images exist | images on this machine | how many images are there | local images |
        images stored locally | available images | size of the images | how big are the images | biggest images
        """,
        must=("image",),
        commands="docker images | docker image ls | docker image list | docker images -a",
    ),
    Lookup(
        "docker_images",
        "images by name",
        "docker images | grep -i {name}",
        """
        any {name} images | got any {name} images | {name} images | {name} image | {name} docker images |
        images named {name} | images called {name} | image {name} | images with {name} in the name |
        images matching {name} | is there an image called {name} | is there a {name} image |
        do I have a {name} image | do we have the {name} image locally | which {name} images are there |
        how big is the {name} image | size of the {name} image
        """,
        slots={"name": "name"},
        needs=("name",),
        must=("image",),
        commands="docker images {name} | docker image ls {name}",
    ),
    Lookup(
        "docker_system_df",
        "the disk space that the engine uses",
        "docker system df",
        """
        space used by docker images and volumes | space used by docker images volumes and containers |
        docker space usage | how much space do images use | how big are docker images and volumes |
        docker size on disk | docker disk | size of docker on disk | how much room does docker use | docker disk usage |
        docker disk space | disk space used by docker | disk usage of docker | how much disk does docker use |
        how much disk space does docker use | how much space does docker use | how much space is docker using on disk |
        how much space do images and containers use | how much disk do the containers use |
        how much disk space do the images use | how much disk space do volumes use | space used by images |
        space used by docker images | how big is docker | disk usage of the container engine | what can docker prune |
        what could docker prune | what can docker free | how much can docker prune | how much could docker prune |
        what can be pruned in docker | what can I prune in docker | what can I prune | what could I prune |
        how much space can docker free | how much disk space can docker free | how much space could docker prune |
        is there anything docker can prune | what docker can prune | how much space can be pruned in docker
        """,
        must=("docker/container/image/volume/prune",),
        commands="docker system df | docker system df -v",
        causes="why does docker use so much disk space | why does docker use so much space",
    ),
    Lookup(
        "compose_projects",
        "the compose projects, and which of their services are down",
        "docker ps -a --filter label=com.docker.compose.project",
        """
        projects | all projects | compose projects | docker compose projects | all compose projects | project list |
        which projects are there | which compose projects are there | what projects are there | list of projects |
        which projects do I have | which compose projects do I have | which docker compose projects are there |
        which projects are running | which compose projects are running | what projects are running |
        which compose projects exist | which projects exist | how many projects are there |
        how many compose projects are there | are there any compose projects | any compose projects |
        which projects are up | which compose projects are up | status of the projects |
        status of the compose projects | status of all projects
        """,
        must=("project",),
        commands="docker compose ls | docker compose ls -a | docker compose ls --all",
    ),
    Lookup(
        "compose_ps",
        "the compose services and their containers",
        "docker ps -a --filter label=com.docker.compose.project[={project}]",
        """
        services | all services | compose services | docker compose services | all compose services | service list |
        which services are there | which compose services are there | what services are there | list of services |
        how many services are there | how many compose services are there | are all services running |
        are all compose services running | which services are running | which compose services are running |
        are the services running | are the compose services running | status of the services |
        status of all services | status of the compose services | service status | compose status |
        docker compose status | what did compose start | what has compose started | what did docker compose start |
        what is compose running | what runs in compose | containers of compose | compose containers |
        which containers did compose start | which containers are from compose | which services does compose have |
        services of project {name} | services of the project {name} | services of the {name} project |
        services in project {name} | services in the {name} project | {name} project services |
        which services does project {name} have | which services does the project {name} have |
        which services does the {name} project have | containers of project {name} | containers of the {name} project |
        containers of the project {name} | containers in project {name} | containers in the {name} project |
        which containers belong to project {name} | which containers belong to the project {name} |
        which containers belong to the {name} project | status of project {name} | status of the project {name} |
        status of the {name} project | is the {name} project running | is the project {name} running |
        is project {name} running | what is running in the project {name} | what is running in the {name} project |
        compose project {name} | the {name} project
        """,
        slots={"name": "project"},
        must=("service/compose/project",),
        commands="""
        docker compose ps | docker compose ps -a | docker compose ps --all | docker compose -p {name} ps |
        docker compose -p {name} ps -a
        """,
    ),
    Lookup(
        "compose_ps",
        "the compose services that are down, paused or restarting",
        "docker ps -a --filter label=com.docker.compose.project[={project}] --filter status={state}",
        """
        {state} services | which services are {state} | which compose services are {state} | what services are {state} |
        is any service {state} | are any services {state} | are there {state} services | any {state} services |
        are there any {state} services | is a service {state} | which service is {state} | all {state} services |
        {state} compose services | are services {state} | how many services are {state} | services that are {state} |
        compose services that are {state} | is any compose service {state} | are any compose services {state} |
        which docker compose services are {state} | are there any {state} compose services |
        which services of project {name} are {state} | which services of the project {name} are {state} |
        which services of the {name} project are {state} | which services in the project {name} are {state}
        """,
        slots={"state": "state", "name": "project"},
        needs=("state",),
        must=("service",),
        causes="why are services {state} | why is a service {state}",
    ),
    Lookup(
        "compose_ps",
        "the compose services whose health check fails",
        "docker ps --filter label=com.docker.compose.project[={project}] --filter health={state}",
        """
        {health} services | which services are {health} | which compose services are {health} |
        is any service {health} | are any services {health} | are there {health} services | any {health} services |
        are there any {health} services | which service is {health} | which services of project {name} are {health} |
        which services of the project {name} are {health} | which services of the {name} project are {health}
        """,
        fixed={"state": "unhealthy"},
        slots={"health": "state", "name": "project"},
        must=("service",),
        causes="why are services {health} | why is a service {health}",
    ),
    Lookup(
        "compose_logs",
        "the logs of a compose project, all its containers in one",
        "docker compose[ -p {project}] logs[ --since {since}] --tail {tail|100}",
        """
        compose logs | logs of compose | logs of the compose project | logs of all services |
        logs of all compose services | logs of project {name} | logs of the project {name} |
        logs of the {name} project | logs of the compose project {name} | logs of compose project {name} |
        {name} project logs | project {name} logs | logs of project {name} {since} |
        logs of the project {name} {since} | logs of the {name} project {since} |
        logs of the compose project {name} {since} | last {number} log lines of project {name} |
        last {number} log lines of the project {name} | last {number} log lines of the {name} project |
        last {number} log lines of the compose project {name} | last {number} lines of the logs of project {name} |
        last {number} lines of the logs of the project {name} | last log lines of the {name} project |
        last log lines of the project {name} | what did project {name} log {since} |
        what did the {name} project log {since} | what has the project {name} logged
        """,
        slots={"name": "project", "number": "tail", "since": "since"},
        must=("log", "project/compose/service"),
        commands="""
        docker compose logs | docker compose -p {name} logs | docker compose logs --tail {number} |
        docker compose -p {name} logs --tail={number} | docker compose logs -n {number}
        """,
        causes="""
        any errors in the logs of project {name} | any errors in the logs of the project {name} |
        errors in the logs of the {name} project | any errors in the logs of the {name} project {since} |
        errors in the logs of project {name} {since}
        """,
    ),
    Lookup(
        "compose_drift",
        "how a compose project's containers differ from one another, their images and its file",
        "docker ps -a --no-trunc --filter label=com.docker.compose.project[={project}]",
        """
        compose drift | drift of the compose project | has the compose project drifted | did the compose project drift |
        which compose services have drifted | which services have drifted | has anything drifted in compose |
        has project {name} drifted | has the project {name} drifted | has the {name} project drifted |
        has the compose project {name} drifted | did project {name} drift | did the {name} project drift |
        drift of project {name} | drift of the project {name} | drift of the {name} project | {name} project drift |
        which services of project {name} have drifted | which services of the {name} project have drifted |
        which containers of project {name} have drifted | which containers of the {name} project have drifted
        """,
        slots={"name": "project"},
        must=("drift/drifted",),
    ),
    Lookup(
        "docker_networks",
        "the engine's networks",
        "docker network ls",
        """
        networks docker has | networks docker knows | network list | list of docker networks |
        are there any docker networks | which container networks are there | docker networks | networks |
        all networks | container networks | which networks are there | which docker networks exist |
        which networks does docker have | how many docker networks are there | networks of docker
        """,
        must=("network",),
        commands="docker network ls | docker network list",
    ),
    Lookup(
        "docker_volumes",
        "the engine's volumes",
        "docker volume ls",
        """
        are there any docker volumes | volume list | list of docker volumes | do I have volumes |
        volumes docker knows | docker volumes | volumes | all volumes | container volumes |
        which volumes are there | which docker volumes exist | which volumes does docker have |
        how many volumes are there | volumes of docker
        """,
        must=("volume",),
        commands="docker volume ls | docker volume list",
    ),
    Lookup(
        "docker_networks",
        "the containers on each network",
        "docker network inspect $(docker network ls -q)",
        """
        which containers share a network | which containers are on which network | containers by network |
        which containers are in which network | which containers are on the same network | containers per network |
        which containers are in the same network | networks and their containers | containers of each network |
        containers on each network | which networks are the containers on | do any containers share a network |
        which containers share networks | which container is on which network | which networks are unused |
        unused networks | unused docker networks | are there unused networks | are there any unused networks
        """,
        must=("network",),
    ),
    Lookup(
        "docker_volumes",
        "which volumes are in use, and which are not",
        "docker volume ls; docker volume ls -f dangling=true",
        """
        which volumes are unused | unused volumes | unused docker volumes | are there unused volumes |
        are there any unused volumes | which docker volumes are unused | which volumes are in use |
        which volumes are used | volumes in use | is any volume unused | dangling volumes | orphaned volumes |
        are there dangling volumes | which volumes are dangling | which volumes are orphaned |
        which volumes does no container use | volumes without a container | how many volumes are unused
        """,
        must=("volume",),
        commands="docker volume ls -f dangling=true",
    ),
)
