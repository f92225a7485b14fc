// A link to an audio file gets a player below it; without this script it stays a link.
document.addEventListener("DOMContentLoaded", () => {
  for (const link of document.querySelectorAll('article a[href$=".mp3"], article a[href$=".wav"]')) {
    const player = document.createElement("audio");
    player.controls = true;
    player.preload = "none";
    player.src = link.href;
    player.setAttribute("aria-label", link.textContent);
    link.after(player);
    player.addEventListener("play", () => {
      for (const other of document.querySelectorAll("audio")) if (other !== player) other.pause();
    });
  }
});
