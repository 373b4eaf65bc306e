"""What there is to fetch for a reference: the hub, a registry or a server is asked, and the files are chosen."""

from __future__ import annotations

import dataclasses
import re

from corral.contracts.fetching import Plan, RemoteFile, Role
from corral.domain.errors import BadRequest, FetchFailed, FetchRefused, FileMissing, WrongContent
from corral.domain.references import (
    BadReference,
    FileReference,
    HubReference,
    OllamaReference,
    Reference,
    WebReference,
    narrowed,
)
from corral.kit.homes import expanded
from corral.store.fetch.denial import TooBusy
from corral.store.fetch.web import Web
from corral.store.fetch.wire import Interrupted
from corral.store.files import part_paths
from corral.store.sources import hub, ollama, web
from corral.store.sources.access import Access
from corral.store.sources.cached import plan_of_caches
from corral.store.sources.choosing import Chosen, choose, role_of
from corral.store.sources.hub import Repository
from corral.store.sources.listing import ListedFile
from corral.store.sources.places import hub_place
from corral.store.sources.quants import normal, quant_of, same


class Sources:
    """All places that models come from. It blocks."""

    def __init__(self, access: Access, client: Web | None = None) -> None:
        self.access = access
        self.web = client or Web(access.rules)

    def plan(self, reference: Reference, *, quant: str = "", file: str = "", sha256: str = "", name: str = "") -> Plan:
        """
        The files of the model that is meant; `name` is the file's name in the store, for addresses without a good one.

        Where nobody can be asked, they are looked for in what other programs have. Raises BadRequest for what cannot be
        asked of such a reference, and StoreFailed.
        """
        try:
            found = self._plan(reference, quant, file, sha256, name)
        except (FetchRefused, Interrupted, TooBusy) as error:
            elsewhere = self._unasked(error, reference, quant, file, _digest(sha256)) if not name else None
            if elsewhere is None:
                raise
            found = elsewhere
        return dataclasses.replace(found, asked=_as_asked(reference, found.reference, quant, file))

    def _plan(self, reference: Reference, quant: str, file: str, sha256: str, name: str) -> Plan:
        digest = _digest(sha256)
        if not isinstance(reference, HubReference) and (quant or file):
            raise BadRequest(f"{reference} is one model: it has no --quant and no --file to choose.")
        if name and not isinstance(reference, WebReference):
            raise BadRequest(f"The files of {reference} have names of their own.")
        if isinstance(reference, HubReference):
            return _checked(self._hub(reference, quant, file), digest)
        if isinstance(reference, OllamaReference):
            return _checked(ollama.plan(self.access.rules, reference, self.web.stop), digest)
        if isinstance(reference, WebReference):
            found = web.plan(self.web, reference, name=web.file_name(name) if name else "")
            return _checked(found, digest)
        return _checked(_here(reference), digest)

    def _unasked(self, error: FetchFailed, reference: Reference, quant: str, file: str, digest: str) -> Plan | None:
        if self.access.caches is None or (isinstance(error, FetchRefused) and not self.access.rules.offline):
            return None
        found = plan_of_caches(self.access.caches, reference, quant=quant, file=file)
        if found is None:
            return None
        try:
            return dataclasses.replace(_checked(found, digest), unasked=error.message)
        except WrongContent:  # they have another file than is wanted
            return None

    def repository(self, reference: HubReference) -> Repository:
        """All that a repository of the hub has. Raises FetchRefused where its token cannot be sent."""
        if self.access.fault:
            raise FetchRefused(self.access.fault, hint="Set it to the token as the hub shows it, or to nothing.")
        return hub.repository(self.web, self.access.endpoint, reference)

    def url(self, repository: Repository, file: ListedFile) -> str:
        """Where the bytes of one of its files are."""
        return hub.file_url(self.access.endpoint, repository, file.path)

    def _hub(self, reference: HubReference, quant: str, file: str) -> Plan:
        if quant and reference.quant and not same(normal(quant), normal(reference.quant)):
            raise BadRequest(f"{reference} says {reference.quant}, and --quant {quant}: say one of them.")
        if quant and (file or reference.file):
            raise BadRequest(f"{reference}: a file has its quantisation already; leave --quant out.")
        if file and reference.file and file != reference.file:
            raise BadRequest(f"{reference} names a file, and --file another: name one of them.")
        repository = self.repository(reference)
        chosen = choose(
            repository.files,
            quant=quant or reference.quant,
            file=file or reference.file,
            where=f"hf.co/{reference.repo}",
        )
        files = [self._remote(repository, each, chosen) for each in chosen.model.files]
        if chosen.projector is not None:
            files.append(self._remote(repository, chosen.projector, chosen))
        meant = dataclasses.replace(reference, repo=repository.reference.repo)
        return Plan(_asked(meant, chosen, quant=bool(quant or reference.quant)), tuple(files), repository.licence)

    def _remote(self, repository: Repository, each: ListedFile, chosen: Chosen) -> RemoteFile:
        role = Role.PROJECTOR if each is chosen.projector else chosen.model.role
        place = hub_place(repository.reference, each.path)
        return RemoteFile(self.url(repository, each), place, role, each.size_bytes, each.sha256)


def _asked(reference: HubReference, chosen: Chosen, *, quant: bool) -> HubReference:
    """The reference with what else was asked for. What was chosen without a word is not in it: see `exact`."""
    if chosen.by_file:
        return dataclasses.replace(reference, quant="", file=chosen.model.files[0].path)
    return dataclasses.replace(reference, quant=chosen.model.quant) if quant else reference


def _as_asked(reference: Reference, found: Reference, quant: str, file: str) -> str:
    if not isinstance(reference, HubReference) or not isinstance(found, HubReference):
        return ""
    reference = dataclasses.replace(reference, repo=found.repo)
    try:
        return str(narrowed(reference, quant=quant, file=file))
    except BadReference:  # the same said twice, in two spellings
        return str(reference)


def exact(plan: Plan) -> Reference:
    """The reference that means these files whatever else is uploaded later: with the quantisation that was chosen."""
    reference = plan.reference
    if not isinstance(reference, HubReference) or reference.file or reference.quant:
        return reference
    return dataclasses.replace(reference, quant=quant_of(plan.files[0].path))


def _here(reference: FileReference) -> Plan:
    """Files of this machine: all parts of a split one. Raises FileMissing."""
    first = expanded(reference.path).absolute()
    files = []
    for path in part_paths(first):
        if path.is_dir():
            raise FileMissing(f"{path} is a folder.", hint="Name the file in it.")
        if not path.is_file():
            raise FileMissing(f"There is no file {path}.", hint="Correct the path.")
        files.append(RemoteFile(path.as_uri(), path.name, role_of(path.name), path.stat().st_size))
    return Plan(reference, tuple(files))


def _digest(text: str) -> str:
    digest = text.strip().lower().removeprefix("sha256:")
    if digest and not re.fullmatch(r"[0-9a-f]{64}", digest):
        raise BadRequest("A SHA-256 has 64 hexadecimal digits.")
    return digest


def _checked(plan: Plan, sha256: str) -> Plan:
    """The plan, whose model file must have this hash. Raises WrongContent where its source knows another."""
    if not sha256:
        return plan
    models = [each for each in plan.files if each.role is plan.files[0].role]
    if len(models) > 1:
        raise BadRequest(f"{plan.reference} has {len(models)} parts: one hash cannot be that of all.")
    first = plan.files[0]
    if first.sha256 and first.sha256 != sha256:
        raise WrongContent(
            f"{plan.reference} has another file than you want: its SHA-256 begins with {first.sha256[:12]}, and you "
            f"gave {sha256[:12]}...",
            hint="Somebody has changed it, or the hash is of another file.",
        )
    pinned = dataclasses.replace(first, sha256=sha256)
    return dataclasses.replace(plan, files=(pinned, *plan.files[1:]))
