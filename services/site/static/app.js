// What the pages do beyond HTML: times relative to now, and how many characters are left.
"use strict";

const STEPS = [["year", 31536000], ["month", 2592000], ["day", 86400], ["hour", 3600], ["minute", 60]];
const words = new Intl.RelativeTimeFormat("en", { numeric: "auto" });

function ago(then) {
  const seconds = (then - Date.now()) / 1000;
  const step = STEPS.find(([, length]) => Math.abs(seconds) >= length);
  return step ? words.format(Math.trunc(seconds / step[1]), step[0]) : "just now";
}

function tellTimes() {
  for (const time of document.querySelectorAll("time[datetime]")) {
    if (!time.title) time.title = time.textContent;
    time.textContent = ago(Date.parse(time.dateTime));
  }
}

function countCharacters(label) {
  const field = document.getElementById(label.dataset.counts);
  const tell = () => {
    const left = field.maxLength - field.value.length;
    label.textContent = `${left} characters left`;
    label.classList.toggle("nearly", left < 30);
  };
  field.addEventListener("input", tell);
  tell();
}

tellTimes();
setInterval(tellTimes, 30000);
document.querySelectorAll("[data-counts]").forEach(countCharacters);
