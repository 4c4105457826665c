"""Tags of languages, as clients and models write them."""


def family(tag: str) -> str:
    """The language of a tag without its region: "en" of "en-GB" and of "EN_us"; empty of an empty one."""
    return tag.lower().replace("_", "-").partition("-")[0]
