// Browsers refuse workers to pages opened from a disk, and the search is one. There, and only there, its script runs
// in a hidden frame. As with a worker, what is posted is copied, and arrives later, not at once.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      this.frame = document.body.appendChild(document.createElement("iframe"));
      this.frame.hidden = true;
      const inside = this.frame.contentWindow;
      inside.postMessage = (data) => later(data, (content) => this.tell("message", content));
      const script = inside.document.createElement("script");
      this.loaded = new Promise((resolve) => (script.onload = resolve));
      script.onerror = () => this.tell("error", {});
      script.src = new URL(url, document.baseURI);
      inside.document.body.append(script);
    }

    tell(name, content) {
      const event = new MessageEvent(name, content);
      this[`on${name}`]?.(event);
      this.dispatchEvent(event);
    }

    postMessage(data) {
      const inside = this.frame.contentWindow;
      const deliver = (content) => inside.dispatchEvent(new inside.MessageEvent("message", content));
      later(data, (content) => this.loaded.then(() => deliver(content)));
    }

    terminate() {
      this.frame.remove();
    }
  };

  function later(data, deliver) {
    const copy = structuredClone(data);
    setTimeout(() => deliver({ data: copy }));
  }
}
