// The camera: frames until a QR code is read, by the browser's own detector or the library beside this file.

import decodeQR from "/door/qr/decode.js";

const EVERY_MS = 120; // between two looks: eight a second leave a telephone cool
const SIDE = 800; // pixels of the longer side that the library looks at

export class Scanner {
  #stream = null;
  #timer = 0;

  constructor(video, seen) {
    this.video = video;
    this.seen = seen;
    this.canvas = document.createElement("canvas");
  }

  get running() {
    return this.#stream !== null;
  }

  /** Ask for the camera; throws when there is none or it was refused. */
  async start() {
    if (this.running) return;
    if (!navigator.mediaDevices) throw new Error("this browser gives no camera to pages that come without https");
    const wanted = { video: { facingMode: { ideal: "environment" }, width: { ideal: 1280 }, height: { ideal: 720 } } };
    this.#stream = await navigator.mediaDevices.getUserMedia(wanted);
    this.video.srcObject = this.#stream;
    await this.video.play();
    this.read = await this.#reader();
    this.#look();
  }

  stop() {
    clearTimeout(this.#timer);
    for (const track of this.#stream?.getTracks() ?? []) track.stop();
    this.#stream = null;
    this.video.srcObject = null;
  }

  get hasTorch() {
    return Boolean(this.#stream?.getVideoTracks()[0]?.getCapabilities?.().torch);
  }

  torch(on) {
    return this.#stream.getVideoTracks()[0].applyConstraints({ advanced: [{ torch: on }] });
  }

  async #reader() {
    try {
      if ((await BarcodeDetector.getSupportedFormats()).includes("qr_code")) {
        const detector = new BarcodeDetector({ formats: ["qr_code"] });
        return async (video) => (await detector.detect(video))[0]?.rawValue ?? null;
      }
    } catch {
      // no BarcodeDetector, or one without its service
    }
    return (video) => this.#byLibrary(video);
  }

  #byLibrary(video) {
    const scale = Math.min(1, SIDE / Math.max(video.videoWidth, video.videoHeight));
    const width = Math.round(video.videoWidth * scale);
    const height = Math.round(video.videoHeight * scale);
    if (!width || !height) return null;
    this.canvas.width = width;
    this.canvas.height = height;
    const context = this.canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(video, 0, 0, width, height);
    try {
      return decodeQR(context.getImageData(0, 0, width, height));
    } catch {
      return null; // no code in this picture
    }
  }

  async #look() {
    if (!this.running) return;
    try {
      const text = await this.read(this.video);
      if (text) await this.seen(text);
    } catch (error) {
      console.warn("camera:", error);
    }
    this.#timer = setTimeout(() => this.#look(), EVERY_MS);
  }
}
