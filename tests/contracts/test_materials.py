"""Every material, shipped or a user's own, keeps these promises."""

import os
import re
from pathlib import Path

import numpy as np
import pytest

from layerscope.errors import InputError, UnknownName
from layerscope.physics.materials import load, materials
from layerscope.physics.thin_film import Stack, contrast_ladder, flake_reflectance

GOLDEN = Path(__file__).parents[1] / "golden" / "contrast.csv"
OXIDES = (90, 285)
CRYSTALS = [n for n in materials() if load(n).layer_nm is not None]
NEEDED = [
    "graphene", "hBN", "MoS2", "WS2", "MoSe2", "WSe2", "WTe2", "MoTe2", "NbSe2", "TaS2", "PtSe2",
    "ReS2", "SnS2", "Bi2Te3", "Bi2Se3", "GaSe", "In2Se3", "SiO2", "Si", "Al2O3", "PDMS",
]  # fmt: skip


def shipped_toml(name):
    return (Path(load.__code__.co_filename).parent / "data/materials" / f"{name}.toml").read_text()


@pytest.fixture
def own_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("LAYERSCOPE_MATERIALS", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("name", materials())
class TestEveryMaterial:
    def test_index_is_physical_where_cameras_see(self, name):
        material = load(name)
        assert material.wavelength_nm[0] <= 420
        assert material.wavelength_nm[-1] >= 700
        index = material.index(np.arange(420.0, 701.0))
        assert np.all(np.isfinite(index))
        assert np.all((index.real > 0.05) & (index.real < 8))
        assert np.all((index.imag >= 0) & (index.imag < 8))

    def test_says_where_its_constants_come_from(self, name):
        material = load(name)
        assert material.reference or material.doi
        assert re.fullmatch(r"10\.\d{4,}/\S+", material.doi) or len(material.reference) > 20

    def test_is_found_by_every_name_in_any_case(self, name):
        for alias in (name, name.upper(), name.lower(), *load(name).aliases):
            assert load(alias).name == name

    def test_is_named_like_its_file(self, name):
        assert load(name).name == name
        assert f'name = "{name}"' in shipped_toml(name)


@pytest.mark.parametrize("name", CRYSTALS)
class TestEveryCrystal:
    def test_layer_is_as_thick_as_a_layer(self, name):
        assert 0.3 < load(name).require_layer_nm() < 1.3

    @pytest.mark.parametrize("oxide_nm", OXIDES)
    def test_monolayer_can_be_told_from_bare_oxide(self, name, oxide_nm):
        stack = Stack.parse(f"SiO2({oxide_nm}nm)/Si")
        ladder = contrast_ladder(load(name), stack, max_layers=5)
        assert np.all(np.isfinite(ladder))
        assert np.all(ladder > -1)
        seen = np.abs(ladder[0]).max()
        assert 0.01 < seen < 1

    def test_free_standing_layer_absorbs_little(self, name):
        absorbed = load(name).sheet_absorption(np.arange(420.0, 701.0, 10))
        assert np.all((absorbed >= 0) & (absorbed < 0.5))


def test_the_promised_materials_are_there():
    assert set(NEEDED) <= set(materials())
    assert set(NEEDED[:17]) <= set(CRYSTALS)


def test_no_name_means_two_materials():
    names = [n.casefold() for m in materials() for n in (m, *load(m).aliases)]
    assert len(names) == len(set(names))


def test_contrasts_are_those_of_the_golden_file():
    """Linear-light contrast of 1 and 2 layers; a changed table, grid or camera shows here.

    To accept new numbers: LAYERSCOPE_WRITE_GOLDEN=1 pytest tests/contracts/test_materials.py
    """
    rows = ["material,oxide_nm,layers,contrast_r,contrast_g,contrast_b"]
    for name in CRYSTALS:
        for oxide_nm in OXIDES:
            ladder = contrast_ladder(load(name), Stack.parse(f"SiO2({oxide_nm}nm)/Si"))
            for n in (1, 2, 10):
                values = ",".join(f"{v:.5f}" for v in ladder[n - 1])
                rows.append(f"{name},{oxide_nm},{n},{values}")
    if os.environ.get("LAYERSCOPE_WRITE_GOLDEN"):
        GOLDEN.write_text("\n".join(rows) + "\n")
    stored = GOLDEN.read_text().splitlines()
    # A material that is new needs a row; numbers may differ in the last digit between machines.
    assert [r.rsplit(",", 3)[0] for r in rows] == [r.rsplit(",", 3)[0] for r in stored]
    got, want = (
        np.array([[float(v) for v in r.split(",")[3:]] for r in table[1:]])
        for table in (rows, stored)
    )
    np.testing.assert_allclose(got, want, atol=2e-5)


def test_graphene_absorbs_pi_alpha():
    """Nair et al., Science 320, 1308 (2008): 2.3 %; ellipsometry tables give up to 1.4 times."""
    absorbed = load("graphene").sheet_absorption(np.arange(450.0, 651.0, 10))
    assert np.all((absorbed > 0.9 * 0.0229) & (absorbed < 1.5 * 0.0229))


def test_sheet_absorption_is_what_a_free_layer_takes():
    graphene, wave = load("graphene"), np.array([500.0, 600.0])
    air = Stack((), type(graphene)("air", None, wave, np.ones(2), np.zeros(2), "", "", ""))
    nm = graphene.require_layer_nm()
    reflected = flake_reflectance(graphene, [nm], air, wave, na=1e-4)[0]
    transmitted = np.abs(1 / (1 - 1j * np.pi * nm / wave * (graphene.index(wave) ** 2 - 1))) ** 2
    lost = 1 - reflected - transmitted
    np.testing.assert_allclose(lost, graphene.sheet_absorption(wave), rtol=0.05)


@pytest.mark.parametrize(("factor", "accepted"), [(1.0, True), (0.5, False), (2.0, False)])
def test_graphene_that_absorbs_like_none_is_refused(own_folder, factor, accepted):
    text = shipped_toml("graphene")
    head, k = text.split("k = [")
    scaled = re.sub(r"\d\.\d+", lambda m: f"{float(m.group()) * factor:.4f}", k)
    (own_folder / "graphene.toml").write_text(head + "k = [" + scaled)
    if accepted:
        assert load("graphene").layer_nm == 0.335
    else:
        with pytest.raises(InputError, match=r"absorbs 2\.3 %, this table (0\.5|2\.)"):
            load("graphene")


OWN = """\
name = "CrI3"
kind = "crystal"
aliases = ["chromium triiodide"]
layer_nm = 0.66
reference = "made up for this test"

[index]
wavelength_nm = [400, 550, 720]
n = [2.0, 3.0, 2.5]
k = [1.0, 0.5, 0.1]
"""


def test_own_material_needs_no_python(own_folder):
    (own_folder / "CrI3.toml").write_text(OWN)
    assert "CrI3" in materials()
    assert "graphene" in materials()
    own = load("cri3")
    assert own is load("Chromium Triiodide")
    assert own.index(475.0) == 2.5 + 0.75j  # linear in between
    assert own.index(350.0) == own.index(400.0)  # constant outside
    ladder = contrast_ladder(own, Stack.parse("SiO2(90nm)/Si"), max_layers=3)
    assert np.all(np.isfinite(ladder))
    assert str(Stack.parse("CrI3(5nm)/SiO2(90nm)/Si")) == "CrI3(5nm)/SiO2(90nm)/Si"


def test_own_table_replaces_the_shipped_one(own_folder):
    (own_folder / "MoS2.toml").write_text(OWN.replace("CrI3", "MoS2"))
    assert load("MoS2").index(550.0) == 3.0 + 0.5j


def test_the_variable_is_read_each_time(tmp_path, monkeypatch):
    (tmp_path / "CrI3.toml").write_text(OWN)
    monkeypatch.setenv("LAYERSCOPE_MATERIALS", str(tmp_path))
    assert load("CrI3").layer_nm == 0.66
    monkeypatch.delenv("LAYERSCOPE_MATERIALS")
    with pytest.raises(UnknownName):
        load("CrI3")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("[400, 550, 720]", "[450, 550, 720]"), "must cover 420 to 700 nm"),
        (("[400, 550, 720]", "[400, 550, 650]"), "must cover 420 to 700 nm"),
        (("[400, 550, 720]", "[400, 720, 550]"), "must cover 420 to 700 nm"),
        (("[400, 550, 720]", "[400, 720]"), "must cover 420 to 700 nm"),
        (("k = [1.0", "k = [-1.0"), "k >= 0"),
        (("layer_nm = 0.66", ""), "not a material file ('layer_nm')"),
        (("layer_nm = 0.66", "layer_nm = 0.0"), "layer_nm"),
        (("layer_nm = 0.66", "layer_nm = -0.66"), "layer_nm"),
        (('"crystal"', '"crystall"'), "kind"),
        (("n = [2.0", "n = ['x'"), "not a material file"),
        (("reference =", "refrence ="), "not a material file ('reference')"),
        (("[index]", "index"), "not a material file"),
        (("n = [2.0", "n = [nan"), "n > 0"),
        (("n = [2.0", "n = [0.0"), "n > 0"),
        (("k = [1.0", "k = [nan"), "k >= 0"),
    ],
)
def test_malformed_file_is_named_in_one_line(own_folder, change, told):
    assert change[0] in OWN
    (own_folder / "CrI3.toml").write_text(OWN.replace(*change))
    with pytest.raises(InputError) as caught:
        load("CrI3")
    message = str(caught.value)
    assert told in message
    assert "CrI3.toml" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("grapheme", "graphene"),
        ("MoS", "MoS2"),
        ("WSe", "WSe2"),
        ("h BN", "hBN"),
        ("mose", "MoSe2"),
    ],
)
def test_near_names_are_offered(name, near):
    with pytest.raises(UnknownName) as caught:
        load(name)
    assert near in str(caught.value).split("Did you mean ")[1]


def test_a_far_name_gets_the_whole_list():
    with pytest.raises(UnknownName) as caught:
        load("xyzzy")
    assert all(name in str(caught.value) for name in materials())


def test_a_medium_has_no_layers_and_says_what_has():
    with pytest.raises(InputError, match=r"SiO2 is no layered crystal\. Choose one of: .*graphene"):
        load("SiO2").require_layer_nm()
