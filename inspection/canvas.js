// Draw with mouse, touch or pen. Triggers "draw" while drawing and "lift" when the pen is lifted, with the picture.
const canvas = element.querySelector("canvas"), pen = canvas.getContext("2d");
const WAIT = 120; // ms between two pictures while drawing
let last = 0, drawing = false;

function clear() {
  pen.fillStyle = "white";
  pen.fillRect(0, 0, canvas.width, canvas.height);
}
function point(event) {
  const box = canvas.getBoundingClientRect();
  return [((event.clientX - box.left) * canvas.width) / box.width, ((event.clientY - box.top) * canvas.height) / box.height];
}
function send(what) {
  last = Date.now();
  trigger(what, { image: canvas.toDataURL("image/png") });
}
canvas.addEventListener("pointerdown", (event) => {
  if (event.button || !event.isPrimary) return; // the other buttons of a mouse, a second finger
  canvas.setPointerCapture(event.pointerId);
  drawing = true;
  Object.assign(pen, { lineWidth: canvas.width / 12, lineCap: "round", lineJoin: "round", strokeStyle: "black" });
  pen.beginPath();
  pen.moveTo(...point(event));
  pen.lineTo(...point(event));
  pen.stroke();
});
canvas.addEventListener("pointermove", (event) => {
  if (!drawing || !event.isPrimary) return;
  pen.lineTo(...point(event));
  pen.stroke();
  if (Date.now() - last > WAIT) send("draw");
});
for (const end of ["pointerup", "pointercancel"])
  canvas.addEventListener(end, (event) => {
    if (!drawing || !event.isPrimary) return;
    drawing = false;
    send("lift");
  });
element.querySelector("button").addEventListener("click", () => {
  clear();
  send("lift");
});
for (const kind of ["dragover", "drop"]) // a file that misses its place must not replace the page
  window.addEventListener(kind, (event) => event.preventDefault());
watch("value", () => { // an image to change: the address of a PNG
  const image = new Image();
  image.onload = () => {
    pen.drawImage(image, 0, 0, canvas.width, canvas.height);
    canvas.scrollIntoView({ block: "nearest" });
  };
  if (props.value) image.src = props.value;
});
clear();
