"""The restoring command from its words to its files."""

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from experiments.restore import main
from experiments.restoring import records, work
from osdface.faces import crop_face, face_matrix, paste_faces
from osdface.picture_reading import read_picture

WHOLE = ["input=in", "output=out", "checkpoint=tiny"]
ALIGNED = [*WHOLE, "aligned=true"]


def files(folder: Path) -> list[str]:
    """What lies below a folder, the records left out."""
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return sorted(path.as_posix() for path in found if path.parts[0] != records.FOLDER)


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


@pytest.fixture
def faces(tmp_path, tiny) -> Path:
    """A folder ``in`` with three aligned faces of different sizes."""
    from datamodules.portraits import render_portrait

    folder = tmp_path / "in"
    folder.mkdir()
    for person, size in enumerate((64, 100, 48)):
        image = Image.fromarray(render_portrait(7, person, 0, 64).image)
        image.resize((size, size)).save(folder / f"{person}.png")
    return folder


def test_aligned_faces(loaded, faces, tiny, capsys) -> None:
    assert main(ALIGNED) == 0
    assert files(loaded / "out") == ["0.png", "1.png", "2.png"]
    for person in range(3):
        expected = np.asarray(tiny.restore(faces / f"{person}.png").image)
        assert np.abs(pixels(loaded / f"out/{person}.png").astype(int) - expected).max() <= 1
    out = capsys.readouterr().out
    assert "3 restored (3 faces)" in out and out.strip().endswith(str(loaded / "out"))


def test_aligned_faces_in_their_own_size_side_by_side(loaded, faces) -> None:
    assert main([*ALIGNED, "original_size=true", "side_by_side=true"]) == 0
    assert pixels(loaded / "out/1.png").shape == (100, 100, 3)
    both = pixels(loaded / "out/side_by_side/1.png")
    np.testing.assert_array_equal(both[:, :100], pixels(faces / "1.png"))
    np.testing.assert_array_equal(both[:, 100:], pixels(loaded / "out/1.png"))


def test_batch_size_and_neighbours_change_nothing(loaded, faces) -> None:
    assert main([*ALIGNED, "batch_size=1"]) == 0
    assert main(["input=in/1.png", "output=alone", "checkpoint=tiny", "aligned=true"]) == 0
    one, other = pixels(loaded / "out/1.png"), pixels(loaded / "alone/1.png")
    assert np.abs(one.astype(int) - other).max() <= 1


def test_whole_photo(loaded, photos, tiny) -> None:
    """Each face is cut out, restored and pasted back; the wall stays as it is, to the bit."""
    assert main(WHOLE) == 0
    before, after = pixels(photos / "two.png"), pixels(loaded / "out/two.png")
    found = work.FaceDetector().detect(before)
    matrices = [face_matrix(face.points, 64) for face in found]
    crops = [crop_face(before, matrix, 64) for matrix in matrices]
    expected = paste_faces(before, tiny.restore(crops).images, matrices)
    assert np.abs(after.astype(int) - expected).max() <= 1
    outside = np.ones(before.shape[:2], bool)
    for left, top in work.FaceDetector.corners:
        outside[top : top + 96, left : left + 96] = False
        middle = np.s_[top + 30 : top + 66, left + 30 : left + 66]
        assert (before[middle] != after[middle]).any()
    np.testing.assert_array_equal(after[outside], before[outside])


def test_enlarged_photo_side_by_side(loaded, photos) -> None:
    assert main([*WHOLE, "upscale=2", "side_by_side=true"]) == 0
    assert files(loaded / "out") == ["side_by_side/two.png", "two.png"]
    after = pixels(loaded / "out/two.png")
    assert after.shape == (300, 600, 3)
    before = cv2.resize(pixels(photos / "two.png"), (600, 300), interpolation=cv2.INTER_LANCZOS4)
    both = pixels(loaded / "out/side_by_side/two.png")
    np.testing.assert_array_equal(both, np.concatenate([before, after], 1))
    np.testing.assert_array_equal(after[:, :36], before[:, :36])
    assert (after[100:200, 60:220] != before[100:200, 60:220]).any()


def test_faces_alone(loaded, photos, tiny) -> None:
    assert main([*WHOLE, "paste_back=false"]) == 0
    assert files(loaded / "out") == ["two_00.png", "two_01.png"]
    assert pixels(loaded / "out/two_01.png").shape == (64, 64, 3)


def test_every_mode_in_one_folder(loaded, photos, capsys) -> None:
    """Gray, alpha, 16 bits, EXIF, CMYK, animated: restored, and of the kind that came in."""
    rgb = pixels(photos / "two.png")
    image = Image.fromarray(rgb)
    image.convert("L").save(photos / "gray.png")
    alpha = np.full(rgb.shape[:2], 128, np.uint8)
    Image.fromarray(np.dstack([rgb, alpha])).save(photos / "alpha.png")
    cv2.imwrite(str(photos / "deep.png"), rgb[..., ::-1].astype(np.uint16) * 257)
    image.convert("CMYK").save(photos / "cmyk.jpg", quality=95)
    exif = Image.Exif()
    exif[0x0112] = 6
    image.rotate(90, expand=True).save(photos / "turned.png", exif=exif)
    image.save(photos / "film.webp", save_all=True, append_images=[image.rotate(5)], lossless=True)
    assert main(WHOLE) == 0
    out = loaded / "out"
    names = ("alpha", "cmyk", "deep", "film", "gray", "turned", "two")
    assert files(out) == [f"{name}.png" for name in names]
    result = {name: read_picture(out / f"{name}.png") for name in names}
    for name, picture in result.items():
        before = read_picture(next(photos.glob(f"{name}.*")))
        assert picture.rgb.shape == (150, 300, 3), name
        assert picture.rgb.dtype == before.rgb.dtype and picture.gray == before.gray, name
        np.testing.assert_array_equal(picture.rgb[:15], before.rgb[:15])
        assert (picture.rgb[40:100, 40:100] != before.rgb[40:100, 40:100]).any(), name
    np.testing.assert_array_equal(result["alpha"].alpha, alpha)
    two = result["two"].rgb
    for name in ("alpha", "turned", "film"):
        np.testing.assert_array_equal(result[name].rgb, two)
    assert np.abs(result["deep"].rgb / 257 - two).max() < 2  # and finer than 8 bits:
    assert (result["deep"].rgb[40:100, 40:100] % 257 != 0).any()
    told = capsys.readouterr().out
    assert "film.webp: the first of 2 frames" in told and "CMYK" in told


@pytest.mark.parametrize(("no_face", "expected"), [("copy", ["wall.png"]), ("skip", [])])
def test_a_photo_without_a_face(no_face, expected, loaded, tmp_path, capsys) -> None:
    (tmp_path / "in").mkdir()
    wall = np.random.default_rng(0).integers(0, 256, (50, 60, 3), np.uint8)
    Image.fromarray(wall).save(tmp_path / "in/wall.bmp")
    assert main([*WHOLE, f"no_face={no_face}"]) == 0
    assert files(loaded / "out") == expected
    if expected:
        np.testing.assert_array_equal(pixels(loaded / "out/wall.png"), wall)
    out = capsys.readouterr().out
    assert "no face found" in out and "1 without a face" in out
    assert main([*WHOLE, f"no_face={no_face}"]) == 0
    assert "1 done before" in capsys.readouterr().out


def test_a_broken_file_is_told_and_the_rest_goes_on(loaded, faces, capsys) -> None:
    (faces / "1.png").write_bytes((faces / "1.png").read_bytes()[:200])
    (faces / "text.jpg").write_text("no picture")
    assert main(ALIGNED) == 1
    assert files(loaded / "out") == ["0.png", "2.png"]
    captured = capsys.readouterr()
    assert "2 restored (2 faces), 2 failed" in captured.out
    assert "1.png cannot be read" in captured.err and "text.jpg cannot be read" in captured.err
    assert "Traceback" not in captured.out + captured.err
    Image.new("RGB", (64, 64)).save(faces / "1.png")
    (faces / "text.jpg").unlink()
    assert main(ALIGNED) == 0
    assert "1 restored (1 faces), 2 done before" in capsys.readouterr().out


def test_an_error_nobody_thought_of_fails_one_picture(loaded, faces, monkeypatch, capsys) -> None:
    write = work.write_picture

    def failing(path: Path, picture) -> None:
        if path.name == "1.png":
            raise OSError("no space left")
        write(path, picture)

    monkeypatch.setattr(work, "write_picture", failing)
    assert main(ALIGNED) == 1
    assert files(loaded / "out") == ["0.png", "2.png"]
    assert "1.png: OSError: no space left" in capsys.readouterr().err


def test_repeating_goes_on_and_changes_nothing(loaded, faces, capsys) -> None:
    assert main(ALIGNED) == 0
    stamps = {path: path.stat().st_mtime_ns for path in (loaded / "out").glob("*.png")}
    (loaded / "out/1.png").unlink()
    assert main(ALIGNED) == 0
    assert "1 restored (1 faces), 2 done before" in capsys.readouterr().out
    for name in ("0.png", "2.png"):
        assert (loaded / "out" / name).stat().st_mtime_ns == stamps[loaded / "out" / name]
    # A picture that changed is restored anew.
    Image.new("RGB", (64, 64), "red").save(faces / "2.png")
    assert main(ALIGNED) == 0
    assert "1 restored (1 faces), 2 done before" in capsys.readouterr().out


def test_an_interruption_in_the_middle(loaded, faces, monkeypatch, capsys) -> None:
    write, done = work.write_picture, []

    def interrupted(path: Path, picture) -> None:
        if done:
            raise KeyboardInterrupt
        done.append(path)
        write(path, picture)

    monkeypatch.setattr(work, "write_picture", interrupted)
    assert main(ALIGNED) == 130
    assert "goes on" in capsys.readouterr().err
    monkeypatch.setattr(work, "write_picture", write)
    assert main(ALIGNED) == 0
    assert "2 restored (2 faces), 1 done before" in capsys.readouterr().out


def test_names_are_kept_and_do_not_collide(loaded, tmp_path) -> None:
    names = ["a.jpg", "a.png", "A.bmp", "a-jpg.png", "sub/a.png", "b c.d.PNG", "side_by_side/x.png"]
    colors = iter(["red", "lime", "blue", "white", "black", "gray", "pink", "navy"])
    for name in [*names, "x.png"]:
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), next(colors)).save(path)
    (tmp_path / "in/.hidden.png").write_text("")
    (tmp_path / "in/notes.txt").write_text("")
    assert main([*ALIGNED, "side_by_side=true"]) == 0
    found = files(loaded / "out")
    assert len(found) == 16
    plain = [name for name in found if not name.startswith("side_by_side/")]
    kept = {"a-jpg.png", "sub/a.png", "b c.d.png", "a-png.png", "A-bmp.png", "a-jpg-2.png"}
    assert kept <= set(plain)


def test_output_inside_the_inputs_is_no_input(loaded, faces, capsys) -> None:
    words = ["input=in", "output=in/restored", "checkpoint=tiny", "aligned=true"]
    assert main(words) == 0 and main(words) == 0
    assert "0 restored (0 faces), 3 done before" in capsys.readouterr().out
    assert files(faces / "restored") == ["0.png", "1.png", "2.png"]


def test_a_pattern_and_one_file(loaded, faces) -> None:
    (faces / "deep").mkdir()
    shutil.copy(faces / "0.png", faces / "deep/0.png")
    assert main(["input=in/**/0.png", *ALIGNED[1:]]) == 0
    assert files(loaded / "out") == ["0.png", "deep/0.png"]


def test_several_processes(faces, monkeypatch, capsys) -> None:
    """Real ones, on the CPU, each with its own copy of the shipped restorer."""
    monkeypatch.chdir(faces.parent)
    (faces / "text.jpg").write_text("no picture")
    assert main([*ALIGNED, "device=cpu", "devices=2"]) == 1
    out = capsys.readouterr().out
    assert files(faces.parent / "out") == ["0.png", "1.png", "2.png"]
    assert "3 restored (3 faces), 1 failed" in out


@pytest.mark.shared_data
def test_real_photos(shared_data, tmp_path, capsys) -> None:
    """The 8 whole photos, with the shipped restorer: only where the faces are does it change."""
    source = shared_data / "data/faces/whole_imgs"
    words = [f"input={source}", f"output={tmp_path}/out", "checkpoint=tiny", "device=cpu"]
    assert main([*words, f"weights_dir={shared_data}/data/weights"]) == 0
    out = capsys.readouterr().out
    assert "8 restored (19 faces)" in out
    for path in source.iterdir():
        before, after = read_picture(path), read_picture(tmp_path / f"out/{path.stem}.png")
        assert before.rgb.shape == after.rgb.shape
        assert (before.alpha is None) == (after.alpha is None)
        changed = (before.rgb != after.rgb).any(-1).mean()
        assert 0.01 < changed < 0.75
        with capsys.disabled():
            print(f"\n{path.name}: {100 * changed:.0f} % of the pixels changed", end="")
