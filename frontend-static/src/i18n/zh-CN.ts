/* Grows with the pages; what is missing is shown in English. Listed in the interface once it is complete. */
import type { Key } from "./index";

export const zhCN: Partial<Record<Key, string>> = {
  "nav.runs": "运行",
  "nav.workflows": "工作流",
  "nav.templates": "模板",
  "nav.approvals": "审批",
  "nav.memory": "记忆",
  "nav.agents": "智能体",
  "nav.models": "模型",
  "nav.dashboard": "仪表盘",
  "nav.admin": "管理",
  "nav.pending": "项待处理",
  "runs.title": "运行",
  "runs.start": "开始运行",
  "run.state.queued": "排队中",
  "run.state.running": "运行中",
  "run.state.paused": "已暂停",
  "run.state.waiting": "等待中",
  "run.state.locked": "已锁定",
  "run.state.succeeded": "已完成",
  "run.state.failed": "失败",
  "run.state.cancelled": "已取消",
};
