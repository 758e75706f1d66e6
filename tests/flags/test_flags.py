from importlib import import_module
from pkgutil import iter_modules

from autoexp import flags


def test_every_table_names_its_versions() -> None:
    tables = [import_module(f"{flags.__name__}.{module.name}") for module in iter_modules(flags.__path__)]

    assert tables
    assert all(table.VERSIONS and len(table.FLAGS) > 100 for table in tables)
