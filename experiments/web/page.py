"""The page: its parts, and what happens when one is touched."""

import html
import logging
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from experiments.web import texts
from experiments.web.files import save_png, save_upload
from experiments.web.models import TINY_NAME
from experiments.web.work import Order, Result, Studio, draw_portrait
from osdface.degradation import PRESETS
from osdface.errors import UserError

_log = logging.getLogger(__name__)
_NONE = "none: the photo as it is"
_ALIGNED, _WHOLE = "A face fills it (aligned)", "Whole photo: find the faces"
_EXAMPLE_PERSON = 3
_EXAMPLE_PRESET = "waveface"


def said(sentence: str, wrong: bool = False, notes: Sequence[str] = ()) -> str:
    """Returns a sentence for the visitor as HTML; what comes from files is escaped."""
    listed = "".join(f"<li>{html.escape(note)}</li>" for note in notes)
    more = f"<ul>{listed}</ul>" if listed else ""
    kind, role = ("said wrong", "alert") if wrong else ("said", "status")
    return f'<div class="{kind}" role="{role}">{html.escape(sentence)}{more}</div>'


class Page:
    """Lays the page out over a :class:`~experiments.web.work.Studio`.

    Args:
        studio: Does the work.
        folder: Where pictures lie until they are deleted; the only one that is served.
        minutes: After which they are.
    """

    def __init__(self, studio: Studio, folder: Path, minutes: float) -> None:
        self.studio, self.folder, self.minutes = studio, folder, minutes
        self.first = next(iter(studio.models))
        self._first_result = _example(studio)

    def build(self) -> gr.Blocks:
        """Returns the page; its look is given to ``launch``."""
        with gr.Blocks(title=texts.TITLE, analytics_enabled=False) as blocks:
            gr.Markdown(texts.HEAD, elem_id="head")
            with gr.Row(equal_height=False, elem_id="main"):
                with gr.Column(scale=2, min_width=300):
                    photo, button, draw, kind = self._inputs()
                    with gr.Column(elem_id="settings"):
                        model, preset, strength, seed = self._settings()
                with gr.Column(scale=3, min_width=300):
                    outputs = self._outputs()
                    about = gr.Markdown(self._about(self.first), elem_id="about-model")
            minutes = f"{self.minutes:g}"
            foot = texts.RESPONSIBLE + "\n\n" + texts.PRIVACY.format(minutes=minutes)
            gr.Markdown(foot, elem_id="foot")
            inputs = [photo, model, kind, preset, strength, seed]
            hidden: dict[str, Any] = {"api_visibility": "private"}
            heavy = hidden | {"concurrency_limit": 2, "concurrency_id": "restore"}
            heavy |= {"show_progress_on": outputs[0]}
            blocks.load(self.example, None, outputs, **hidden)
            model.change(self.about, model, [about, strength], **hidden)
            gr.on([photo.upload, button.click], self.restore, inputs, outputs, **heavy)
            drawn, settings = gr.State(False), [kind, preset, strength]
            draws = draw.click(self.draw, model, [photo, drawn, *settings], **hidden)
            draws.then(self.restore, inputs, outputs, **heavy)
            taken_back = [drawn, kind, preset]
            photo.clear(self.clear, taken_back, [*taken_back, *outputs], **hidden)
        blocks.queue(max_size=32, api_open=False)
        return blocks

    def _inputs(self) -> tuple[Any, Any, Any, Any]:
        finds = self.studio.detector is not None
        photo = gr.File(label="Photo", height=150, elem_id="photo")
        button = gr.Button("Restore", variant="primary", elem_id="restore")
        draw = gr.Button("No photo? Draw a portrait", elem_id="draw")
        kinds = [_WHOLE, _ALIGNED] if finds else [_ALIGNED]
        label = "What the photo shows"
        kind = gr.Radio(kinds, value=kinds[0], label=label, elem_id="kind", visible=finds)
        if not finds:
            gr.Markdown(texts.NO_DETECTOR, elem_id="no-detector")
        return photo, button, draw, kind

    def _settings(self) -> tuple[Any, Any, Any, Any]:
        models = self.studio.models
        names = list(models)
        with gr.Accordion("Degrade a clean photo first", open=False, elem_id="degrade"):
            preset = gr.Dropdown([_NONE, *PRESETS], value=_NONE, label="Preset", elem_id="preset")
            strength = gr.Slider(
                0.05, 2, models[self.first].strength, step=0.05, label="Strength",
                info="of blur and loss of size; 1 is as published, for 512 x 512 pixels",
            )  # fmt: skip
            seed = gr.Number(0, label="Seed", precision=0, minimum=0, maximum=2**31 - 1)
        model = gr.Dropdown(names, value=self.first, label="Model", elem_id="model")
        return model, preset, strength, seed

    def _outputs(self) -> list[Any]:
        slider = gr.ImageSlider(
            label="Before | after", format="png", interactive=False, elem_id="slider",
            buttons=["fullscreen"], max_height=560,
        )  # fmt: skip
        status = gr.HTML(elem_id="status", padding=False)
        download = gr.DownloadButton("Save the restored picture", visible=False, elem_id="save")
        with gr.Accordion("Details: the faces that were found", open=False, visible=False) as more:
            faces = gr.Image(
                show_label=False, format="png", interactive=False, buttons=[], elem_id="faces"
            )
        return [slider, status, download, more, faces]

    def about(self, name: str) -> tuple[str, float]:
        """What is said about a model, and the strength that suits it."""
        model = self.studio.models.get(name, self.studio.models[self.first])
        return self._about(model.name), model.strength

    def _about(self, name: str) -> str:
        model = self.studio.models[name]
        return (
            texts.TINY if model.stand_in else texts.TRAINED.format(side=model.restorer.resolution)
        )

    def draw(self, model: str) -> tuple[str, bool, str, str, float]:
        """Draws a person whom nobody has seen, as if the visitor had dropped the picture."""
        path = save_upload(self.folder, "portrait.png", draw_portrait(random.randrange(10**6)))
        return str(path), True, _ALIGNED, _EXAMPLE_PRESET, self.about(model)[1]

    def clear(self, drawn: bool, kind: str, preset: str) -> list[Any]:
        """Empties the page, and takes back what a drawn portrait had set."""
        if drawn:
            kind, preset = _WHOLE if self.studio.detector else _ALIGNED, _NONE
        return [False, kind, preset, *self._nothing("")]

    def restore(
        self, path: str | None, model: str, kind: str, preset: str, strength: float, seed: float
    ) -> list[Any]:
        """Restores what was dropped; whatever happens, a sentence comes back."""
        try:
            if path is None:
                raise UserError(texts.NO_PHOTO)
            if not Path(path).is_file():
                raise UserError(texts.PHOTO_GONE)
            chosen = None if preset == _NONE else preset
            data = Path(path).read_bytes()
            order = Order(data, model, kind == _WHOLE, chosen, float(strength), int(seed or 0))
            return self._shown(self.studio.restore(order), f"restored by {model}")
        except UserError as error:
            return self._nothing(str(error))
        except Exception:
            _log.exception("a photo could not be restored")
            return self._nothing(texts.FAILED)

    def example(self) -> list[Any]:
        """What is shown before anything is dropped."""
        return self._shown(self._first_result, None)

    def _shown(self, result: Result, by: str | None) -> list[Any]:
        pair = tuple(str(save_png(self.folder, name, image)) for name, image in (
            ("before.png", result.before), ("restored.png", result.after)
        ))  # fmt: skip
        faces = result.faces
        sentence = texts.EXAMPLE
        if by is not None:
            count = "one face" if result.count == 1 else f"{result.count} faces"
            sentence = f"{count} {by} in {result.seconds:.1f} s.".capitalize()
        return [
            pair,
            said(sentence, notes=result.notes if by else ()),
            gr.DownloadButton(value=pair[1], visible=by is not None),
            gr.Accordion(visible=faces is not None),
            None if faces is None else str(save_png(self.folder, "faces.png", faces)),
        ]

    def _nothing(self, sentence: str) -> list[Any]:
        hidden = gr.DownloadButton(value=None, visible=False), gr.Accordion(visible=False)
        return [None, said(sentence, wrong=True) if sentence else "", *hidden, None]


def _example(studio: Studio) -> Result:
    model = studio.models[TINY_NAME]
    data = draw_portrait(_EXAMPLE_PERSON)
    return studio.restore(Order(data, TINY_NAME, False, _EXAMPLE_PRESET, model.strength))
