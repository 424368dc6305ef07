"""Everything about the package is said once, in settings.ini; this file hands it to setuptools."""

from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup

config = ConfigParser(delimiters="=")
config.read("settings.ini", encoding="utf-8")
settings = config["DEFAULT"]


def lines(key):
    return settings[key].split("\n")[1:]


extras = {
    key.removesuffix("_requirements"): lines(key)
    for key in settings
    if key.endswith("_requirements")
}
extras["all"] = sorted({need for name, needs in extras.items() if name != "dev" for need in needs})

setup(
    name=settings["lib_name"],
    version=settings["version"],
    description=settings["description"],
    keywords=settings["keywords"],
    author=settings["author"],
    license=settings["license"],
    long_description=Path("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    python_requires=">=" + settings["min_python"],
    packages=find_packages(include=["movie_tagger", "movie_tagger.*"]),
    package_data={"movie_tagger": ["py.typed", "**/*.pyi", "*.pyi", "**/web/*"]},
    install_requires=lines("requirements"),
    extras_require=extras,
    entry_points={
        "console_scripts": [settings["console_scripts"]],
        "nbdev": ["movie_tagger=movie_tagger._modidx:d"],
    },
)
