"""Compare the public names with those of an earlier commit: `python tests/check_api.py TAG`, as .ci/api does.

Names, parameters and defaults count if they are in `__all__` of one of the modules below; all others may change.
"""

import sys

import griffe

MODULES = [
    "hf_jukebox",
    "hf_jukebox.adapters",
    "hf_jukebox.audio",
    "hf_jukebox.convert",
    "hf_jukebox.report",
    "hf_jukebox.training.data",
]


def public_paths(package: griffe.Module) -> set[str]:
    """Return where the public names are, and where the objects behind them are defined."""
    paths = set()
    for path in MODULES:
        module: griffe.Object | griffe.Alias | None = package
        for part in path.split(".")[1:]:
            module = module.members.get(part) if module is not None else None
        if module is None:  # not yet in that version
            continue
        for name in module.exports or [name for name, member in module.members.items() if member.is_public]:
            member = module.members.get(str(name))
            paths.add(f"{path}.{name}")
            if member is not None and member.is_alias:
                paths.add(member.final_target.path)
    return paths


def main(tag: str) -> None:
    before = griffe.load_git("hf_jukebox", ref=tag, repo=".", search_paths=["src"], resolve_aliases=True)
    now = griffe.load("hf_jukebox", search_paths=["src"], resolve_aliases=True)
    public = public_paths(before)
    changes = [
        change
        for change in griffe.find_breaking_changes(before, now)
        if any(change.obj.path == path or change.obj.path.startswith(f"{path}.") for path in public)
    ]
    for change in changes:
        print(change.explain(griffe.ExplanationStyle.ONE_LINE))
    if changes:
        sys.exit(f"{len(changes)} public names have changed since {tag}.")
    print(f"No public name of {len(public)} has changed since {tag}.")


if __name__ == "__main__":
    main(sys.argv[1])
