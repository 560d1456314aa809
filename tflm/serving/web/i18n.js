// The texts of the interface, in English and Chinese. `text("key", {name: value})` is one of them.

const TEXTS = {
  en: {
    skip: "Skip to the message box",
    conversations: "Conversations",
    newChat: "New chat",
    untitled: "New conversation",
    deleteOne: "Delete “{title}”",
    deleteSure: "Delete “{title}”? It cannot be brought back.",
    export: "Export this conversation as JSON",
    close: "Close",
    switchLanguage: "切换到中文",
    theme_system: "System",
    theme_light: "Light",
    theme_dark: "Dark",
    switchTheme: "Colours: {name}. Change",
    model: "Model",
    version: "Version",
    latest: "Latest ({version})",
    versionNumber: "Version {version}",
    settings: "Settings",
    reset: "Back to the model's own",
    done: "Done",
    messages: "Messages",
    message: "Message",
    send: "Send",
    stop: "Stop",
    hint: "Enter sends, Shift+Enter begins a new line, Esc stops",
    placeholder_chat: "Write a message",
    placeholder_answer: "Ask a question",
    placeholder_complete: "Write a beginning; the model goes on",
    placeholder_continue: "Add something, or just send to go on",
    placeholder_none: "No model that writes text is served",
    title_chat: "What would you like to talk about?",
    title_answer: "What would you like to ask?",
    title_complete: "How does it begin?",
    title_none: "Nothing to talk with yet",
    text_chat: "{model} sees the whole conversation. It stays in this browser.",
    text_answer: "{model} sees each question alone. What is said stays in this browser.",
    text_complete: "{model} goes on where your text ends. It stays in this browser.",
    text_none: "The server has no generative model, or it is still loading. This page checks again by itself.",
    you: "You",
    answering: "Answering",
    answered: "The answer is complete.",
    stopped: "Stopped",
    length: "The answer ended at its length limit",
    leftOut: "the oldest {number} messages did not fit into the context",
    empty: "(an empty answer)",
    tokens: "{number} tokens",
    seed: "seed {number}",
    copy: "Copy",
    copied: "Copied",
    again: "Try another",
    retry: "Try again",
    error: "Request failed",
    error_network: "The server cannot be reached. Is it still running?",
    error_broken: "The connection broke before the answer was complete.",
    error_status: "The server answered with {status}.",
    error_token: "The server requires a token and does not know this one.",
    error_storage: "This browser has no more room to keep conversations: delete some.",
    tokenTitle: "This server asks for a token",
    tokenText: "Ask the operator of the server for it. It is kept until this tab is closed.",
    tokenWrong: "The server does not know this token.",
    token: "Token",
    cancel: "Cancel",
    go: "Continue",
    setting_system: "System text",
    about_system: "Instructions for the assistant, if it was trained with them.",
    setting_temperature: "Temperature",
    about_temperature: "0 is greedy decoding; higher is more varied.",
    setting_top_p: "Top-p",
    about_top_p: "Nucleus sampling: keep the top tokens whose cumulative probability reaches p; 1 is off.",
    setting_top_k: "Top-k",
    about_top_k: "Keep the k most likely tokens; 0 is off.",
    setting_repetition_penalty: "Repetition penalty",
    about_repetition_penalty: "Above 1, tokens that have occurred become less likely.",
    setting_max_new_tokens: "Length",
    about_max_new_tokens: "Maximum number of tokens in the answer.",
    setting_seed: "Seed",
    about_seed: "The same seed gives the same answer. Empty: a new one each time.",
    random: "new each time",
    wrongNumber: "A number from {low} to {high}.",
  },
  zh: {
    skip: "跳到输入框",
    conversations: "对话",
    newChat: "新对话",
    untitled: "新的对话",
    deleteOne: "删除“{title}”",
    deleteSure: "删除“{title}”？删除后无法恢复。",
    export: "把这个对话导出为 JSON",
    close: "关闭",
    switchLanguage: "Switch to English",
    theme_system: "跟随系统",
    theme_light: "浅色",
    theme_dark: "深色",
    switchTheme: "配色：{name}。点击切换",
    model: "模型",
    version: "版本",
    latest: "最新 {version}",
    versionNumber: "版本 {version}",
    settings: "设置",
    reset: "恢复模型默认值",
    done: "完成",
    messages: "消息",
    message: "消息",
    send: "发送",
    stop: "停止",
    hint: "Enter 发送，Shift+Enter 换行，Esc 停止",
    placeholder_chat: "输入消息",
    placeholder_answer: "输入问题",
    placeholder_complete: "写一个开头，模型接着写",
    placeholder_continue: "再写一点，或直接发送让它继续",
    placeholder_none: "没有生成模型",
    title_chat: "想聊点什么？",
    title_answer: "想问点什么？",
    title_complete: "开头怎么写？",
    title_none: "暂时没有可以对话的模型",
    text_chat: "{model} 能看到整个对话。对话只保存在这个浏览器里。",
    text_answer: "{model} 每次只看到一个问题。内容只保存在这个浏览器里。",
    text_complete: "{model} 从你停笔的地方接着写。内容只保存在这个浏览器里。",
    text_none: "服务器上没有生成模型，或者模型还在加载。本页会自动重试。",
    you: "你",
    answering: "正在回答",
    answered: "回答完毕。",
    stopped: "已停止",
    length: "回答到了长度上限",
    leftOut: "最早的 {number} 条消息超出上下文长度",
    empty: "（空的回答）",
    tokens: "{number} 个词元",
    seed: "种子 {number}",
    copy: "复制",
    copied: "已复制",
    again: "换一个",
    retry: "重试",
    error: "请求失败",
    error_network: "连接不上服务器。它还在运行吗？",
    error_broken: "回答还没结束，连接就断了。",
    error_status: "服务器返回了 {status}。",
    error_token: "服务器需要令牌，当前令牌无效。",
    error_storage: "浏览器没有空间保存对话了：请删除一些。",
    tokenTitle: "这个服务器需要令牌",
    tokenText: "令牌由服务器的管理者提供，保存到这个标签页关闭为止。",
    tokenWrong: "令牌无效。",
    token: "令牌",
    cancel: "取消",
    go: "继续",
    setting_system: "系统提示",
    about_system: "给助手的指令（训练时用过系统提示才有效）。",
    setting_temperature: "温度",
    about_temperature: "0 为贪心解码；越高越多样。",
    setting_top_p: "Top-p",
    about_top_p: "核采样：保留累计概率达到 p 的词元；1 为关闭。",
    setting_top_k: "Top-k",
    about_top_k: "保留概率最高的 k 个词元；0 为关闭。",
    setting_repetition_penalty: "重复惩罚",
    about_repetition_penalty: "大于 1 时，降低已出现词元的概率。",
    setting_max_new_tokens: "长度",
    about_max_new_tokens: "回答的最大词元数。",
    setting_seed: "种子",
    about_seed: "种子相同，回答相同。留空则每次不同。",
    random: "每次不同",
    wrongNumber: "请输入 {low} 到 {high} 之间的数。",
  },
};
const KEY = "tflm.language";
let language = "en";

/** One text of the interface. */
export function text(key, values = {}) {
  return TEXTS[language][key].replace(/\{(\w+)\}/g, (_, name) => values[name]);
}

/** "en" or "zh". */
export function currentLanguage() {
  return language;
}

/** As it was chosen before, else as the browser is set. */
export function preferredLanguage() {
  let kept = null;
  try {
    kept = localStorage.getItem(KEY);
  } catch {
    // Nothing is kept: the browser's own.
  }
  if (kept in TEXTS) return kept;
  return navigator.language.toLowerCase().startsWith("zh") ? "zh" : "en";
}

/** Shows the page in a language; what scripts wrote themselves, their `onchange` writes anew. */
export function setLanguage(chosen, keep) {
  language = chosen;
  document.documentElement.lang = chosen === "zh" ? "zh-CN" : "en";
  for (const element of document.querySelectorAll("[data-text]")) element.textContent = text(element.dataset.text);
  for (const element of document.querySelectorAll("[data-label]")) label(element, text(element.dataset.label));
  if (!keep) return;
  try {
    localStorage.setItem(KEY, chosen);
  } catch {
    // It holds until the page is left.
  }
}

/** What an element is called, for a screen reader and for a mouse. */
export function label(element, words) {
  element.setAttribute("aria-label", words);
  if (element.tagName === "BUTTON") element.title = words;
}
