"""What the page says, and how it looks."""

TITLE = "OSDFace: restore a face"
HEAD = """
# Restore a face

Drop a photo and compare it with its one-step restoration.
"""
PRIVACY = (
    "Photos stay on this server, in a temporary folder, and are deleted after {minutes} minutes. "
    "Nothing is sent anywhere else."
)
RESPONSIBLE = (
    "**A restored face is an estimate, not evidence.** The model fills in what the picture does "
    "not hold, and the face it shows may be another person's. Do not identify anybody by it, and "
    "tell viewers that a picture was restored. Use photos of people who agree to it."
)
TINY = (
    "**tiny is a stand-in.** It is the small model that comes with the software, made to show "
    "that everything works. It knows drawn portraits of 64 x 64 pixels and nothing else: on a "
    "photograph it shows a small, blurred face with invented features."
)
TRAINED = "A model trained with this framework; it works on faces of {side} x {side} pixels."
NO_DETECTOR = (
    "Aligned faces only: give a picture that one face fills, as in FFHQ. To find faces in whole "
    "photos, the server needs a detector's weights (`weights_dir=`)."
)
EXAMPLE = "An example: a drawn portrait, degraded and then restored by tiny. Drop a photo, or draw."
NO_PHOTO = "Drop a photo first, or let one be drawn."
PHOTO_GONE = "The photo is no longer there, it was deleted after a while: drop it again."
FAILED = "This went wrong on the server, which wrote down why. Try another photo."

CSS = """
.gradio-container { max-width: 1120px !important; margin: 0 auto !important; }
#head h1 { font-size: 1.9rem; margin: 0.4rem 0 0.1rem; }
#head p { opacity: 0.75; margin: 0; }
#status .said { padding: 0.6rem 0.9rem; border-radius: 8px; border-left: 4px solid #2f7d6b;
  background: color-mix(in srgb, #2f7d6b 9%, transparent); overflow-wrap: anywhere; }
#status .said.wrong { border-color: #c0392b;
  background: color-mix(in srgb, #c0392b 10%, transparent); }
#status .said ul { margin: 0.3rem 0 0; padding-left: 1.2rem; opacity: 0.8; font-size: 0.9em; }
#restore { min-height: 3rem; font-size: 1.05rem; }
#foot { opacity: 0.8; font-size: 0.85rem; border-top: 1px solid var(--border-color-primary);
  padding-top: 0.8rem; margin-top: 0.5rem; }
#about-model, #no-detector { opacity: 0.8; }
#about-model p, #no-detector p { font-size: 0.85rem; }
#status, #status > div { padding: 0 !important; }
@media (max-width: 700px) {
  #main > .column { display: contents; }
  #settings { order: 1; }
}
footer { display: none !important; }
"""
