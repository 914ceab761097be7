"""A LangGraph graph behind the same service: pip install 'kaos-ext[langgraph]'."""

from langchain_core.messages import AIMessage
from langgraph.graph import END, START, MessagesState, StateGraph

from kaos_ext.runtime.agent import serve


async def answer(state: MessagesState) -> dict[str, list[AIMessage]]:
    return {"messages": [AIMessage(f"You said: {state['messages'][-1].content}")]}


graph = StateGraph(MessagesState)
graph.add_node("answer", answer)
graph.add_edge(START, "answer")
graph.add_edge("answer", END)

if __name__ == "__main__":
    raise SystemExit(serve(graph.compile(), name="graph-agent"))
