def publish(config, store, record, began):
    return "done"
